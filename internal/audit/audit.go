// Package audit is the append-only log of who did what to what, with which credential, from where and with which outcome. It hangs on the
// HTTP kit (api.Auditor) and on the database (db.Options.BeforeCommit), so that services need not know it; it must not know them.
//
// An entry's way. A request that changes something leaves its entry in the transaction of the change: both are there or neither. A success
// without a transaction (a login) is written before its answer goes out, together with those that wait at the same time. Refusals are kept in
// memory for a moment and written together; a flood of them is counted instead of written one by one (refusals.go). All land in the inbox,
// where nobody waits for anybody. One job at a time takes them from there, numbers them, chains them by hash (chain.go) and signs the
// chain's head from time to time (heads.go); the heads are exported to a file. verify.go finds what was tampered with.
package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Options for New.
type Options struct {
	DB *db.DB
	// KEK is the key-encryption key, which wraps the signing key in the database.
	KEK []byte
	// HeadsFile gets a line for each signed head; empty: none. Its folder is made.
	HeadsFile string
	// Also gets each line that goes to HeadsFile, such as syslog; nil: nobody.
	Also   func(line string) error
	Logger *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// After is the clock of Run; nil: time.After.
	After func(time.Duration) <-chan time.Time
}

// Log is the audit log. It is an api.Auditor.
type Log struct {
	o        Options
	signer   signer
	refusals refusals
	exporter exporter

	mu      sync.Mutex // of waiting
	waiting *batch     // the successes that go with the next write
	writing sync.Mutex // held while a batch is written
}

// New opens the log and makes its key at the first start. The database must have been opened with Commit as its BeforeCommit.
func New(ctx context.Context, o Options) (*Log, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	l := &Log{o: o}
	keys, newest, err := loadKeys(ctx, o.DB, o.KEK)
	if err == nil && newest == "" {
		if err = makeKey(ctx, o.DB, o.KEK); err == nil {
			keys, newest, err = loadKeys(ctx, o.DB, o.KEK)
		}
	}
	if err != nil {
		return nil, err
	}
	l.signer = signer{id: newest, key: keys[newest]}
	return l, nil
}

// signer signs statements with the newest key.
type signer struct {
	id  string
	key ed25519.PrivateKey
}

// record is what a context carries: it describes the request to the transactions in it.
type record struct {
	describe func(at time.Time, changes []db.Change) *Event
	// deferred: transactions say nothing of the outcome. A login that fails counts the failure in one.
	deferred  bool
	committed bool // an entry is in the log
}

type recordKey struct{}

// Commit writes the entry of the request in whose context the transaction runs. It is a BeforeCommit of package db.
func Commit(tx *db.Tx) error {
	rec, _ := tx.Context().Value(recordKey{}).(*record)
	if rec == nil || rec.deferred || api.IsUnrecorded(tx.Context()) {
		return nil
	}
	if err := insert(tx, rec.describe(tx.Now(), tx.Changes()).encode()); err != nil {
		return err
	}
	tx.OnCommit(func() { rec.committed = true })
	return nil
}

func insert(tx *db.Tx, event string) error {
	_, err := tx.Exec(`INSERT INTO audit_inbox (event) VALUES ($1)`, event)
	return err
}

// Begin puts the request where its transactions find it.
func (l *Log) Begin(ctx context.Context, r *api.Request) context.Context {
	return context.WithValue(ctx, recordKey{}, &record{deferred: r.Authenticates(), describe: func(at time.Time, changes []db.Change) *Event {
		return describe(r, at, Success, Reason{Type: "HTTP", Code: strconv.Itoa(r.Code())}, changes)
	}})
}

// Succeeded returns when the request's entry is committed. A change's entry is in its transaction; any other, a login's, does not wait for the disk:
// a power cut within the next moment may lose it, and keep what the login wrote besides (that a trust was used, a user from a provider).
func (l *Log) Succeeded(ctx context.Context, r *api.Request) error {
	rec, _ := ctx.Value(recordKey{}).(*record)
	if rec == nil || rec.committed {
		return nil
	}
	return l.append(rec.describe(l.o.Now(), nil).encode())
}

// Refused notes a refusal. Of the reads only those count to whom somebody had no right.
func (l *Log) Refused(r *api.Request, e *fault.Error) {
	if !r.Mutates() && !r.Authenticates() && e.Status != 401 && e.Status != 403 {
		return
	}
	l.refusals.add(l.o.Now(), keyOf(r, e), func(at time.Time) *Event { return describe(r, at, Failure, refusal(r, e), nil) })
}

// Local marks what the machine's administrator does with the program instead of the API; its transactions get an entry.
func Local(ctx context.Context, action, typeURI, target string) context.Context {
	id := "local-" + uuid.NewString()
	return context.WithValue(ctx, recordKey{}, &record{describe: func(at time.Time, changes []db.Change) *Event {
		return &Event{
			TypeURI: eventURI, ID: uuid.NewString(), EventType: "activity", EventTime: at.UTC().Format(timeLayout), Action: action, Outcome: Success,
			Initiator: Initiator{TypeURI: "service/security/account", ID: "local-administrator", RequestID: id, Host: Host{Address: "localhost"}},
			Target:    Target{TypeURI: typeURI, ID: clip(target)}, Observer: Observer{"service/security", "hanok"}, Changes: changes,
		}
	}})
}

// batch is what several requests write together.
type batch struct {
	events []string
	done   chan struct{}
	err    error
}

// batchMax bounds a transaction of entries, so that other writers do not wait for long.
const batchMax = 128

// append returns when the event is committed. While one batch is being written those that come meanwhile form the next: under load a
// login costs a part of a commit instead of a whole one.
func (l *Log) append(event string) error {
	l.mu.Lock()
	b := l.waiting
	leads := b == nil || len(b.events) >= batchMax
	if leads {
		b = &batch{done: make(chan struct{})}
		l.waiting = b
	}
	b.events = append(b.events, event)
	l.mu.Unlock()
	if !leads {
		<-b.done
		return b.err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	if l.waiting == b {
		l.waiting = nil
	}
	l.mu.Unlock()
	b.err = errors.New("the audit log could not be written")
	defer close(b.done)
	b.err = l.write(context.Background(), b.events) // the client may leave; those who wait with it may not
	return b.err
}

// write appends events to the inbox.
func (l *Log) write(ctx context.Context, events []string) error {
	return l.o.DB.WriteSoon(ctx, func(tx *db.Tx) error {
		for _, e := range events {
			if err := insert(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}
