package api

import (
	"bytes"
	"container/list"
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

// ListJSON is {"key":[doc,doc,…], …extra}: extra is an encoded object of further members ("servers_links"), or nil.
func ListJSON(key string, docs [][]byte, extra []byte) JSON {
	n := len(key) + 8 + len(extra)
	for _, d := range docs {
		n += len(d) + 1
	}
	b := bytes.NewBuffer(make([]byte, 0, n))
	b.WriteString(`{"`)
	b.WriteString(key)
	b.WriteString(`":[`)
	for i, d := range docs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(d)
	}
	b.WriteByte(']')
	if len(extra) > 2 {
		b.WriteByte(',')
		b.Write(extra[1 : len(extra)-1])
	}
	b.WriteByte('}')
	return b.Bytes()
}
