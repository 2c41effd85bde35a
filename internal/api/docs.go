package api

import (
	"bytes"
	"container/list"
	"io"
	"sync"
)

// Docs keeps the encoded documents of resources, so that a list is a query for (id, revision) pairs and a
// concatenation. It is bounded in bytes and forgets what was not used for longest. A document's key holds the
// resource's revision, so an entry never becomes wrong, only unused.
type Docs struct {
	mu    sync.Mutex
	limit int
	size  int
	m     map[DocKey]*list.Element
	used  *list.List // front: newest
}

// DocKey names a document: a resource at a revision in a view (encoding version, granted field rules, whatever
// else the rendering depends on).
type DocKey struct {
	ID       string
	Revision int64
	View     string
}

type doc struct {
	key DocKey
	b   []byte
}

// docOverhead is about what an entry costs besides its bytes.
const docOverhead = 200

// NewDocs makes a cache of about limit bytes.
func NewDocs(limit int) *Docs {
	return &Docs{limit: limit, m: map[DocKey]*list.Element{}, used: list.New()}
}

// Get returns a document, or nil. It must not be changed.
func (d *Docs) Get(k DocKey) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.m[k]
	if e == nil {
		return nil
	}
	d.used.MoveToFront(e)
	return e.Value.(*doc).b
}

// Put stores a document.
func (d *Docs) Put(k DocKey, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m[k] != nil {
		return
	}
	d.m[k] = d.used.PushFront(&doc{k, b})
	d.size += len(b) + docOverhead
	for d.size > d.limit && d.used.Len() > 1 {
		e := d.used.Back()
		old := e.Value.(*doc)
		d.used.Remove(e)
		delete(d.m, old.key)
		d.size -= len(old.b) + docOverhead
	}
}

// List is an answer of documents: {"key":[doc,doc,…], …extra}. Extra is an encoded object of further members ("servers_links"), or nil. It is
// sent piece by piece, without being put together in memory first.
type List struct {
	Key   string
	Docs  [][]byte
	Extra []byte
}

// ListJSON is a list put together.
func ListJSON(key string, docs [][]byte, extra []byte) JSON {
	l := List{key, docs, extra}
	b := bytes.NewBuffer(make([]byte, 0, l.size()))
	_ = l.writeTo(b, nil) // a Buffer takes everything
	return b.Bytes()
}

// size is the length of the encoded list.
func (l *List) size() int {
	n := len(`{"":[]}`) + len(l.Key) + max(0, len(l.Docs)-1)
	for _, d := range l.Docs {
		n += len(d)
	}
	if len(l.Extra) > 2 {
		n += len(l.Extra) - 1
	}
	return n
}

// writeTo writes the list in pieces about as large as block's capacity, which it uses for them; without a block, document by document.
func (l *List) writeTo(w io.Writer, block []byte) (err error) {
	block = block[:0]
	comma := []byte{','}
	put := func(b []byte) {
		switch {
		case err != nil:
		case len(block)+len(b) <= cap(block):
			block = append(block, b...)
		default:
			if len(block) > 0 {
				_, err = w.Write(block)
				block = block[:0]
			}
			if err == nil && len(b) >= cap(block)/2 {
				_, err = w.Write(b)
			} else {
				block = append(block, b...)
			}
		}
	}
	put([]byte(`{"` + l.Key + `":[`))
	for i, d := range l.Docs {
		if i > 0 {
			put(comma)
		}
		put(d)
	}
	put([]byte{']'})
	if len(l.Extra) > 2 {
		put(comma)
		put(l.Extra[1 : len(l.Extra)-1])
	}
	put([]byte{'}'})
	if err == nil && len(block) > 0 {
		_, err = w.Write(block)
	}
	return err
}
