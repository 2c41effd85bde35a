package api

import (
	"io"
	"net/http"
	"strconv"
)

// JSON is an answer that is encoded already.
type JSON []byte

// Stream is a raw body in either direction. Size is -1 when unknown. As an answer, Body is closed after it was sent.
type Stream struct {
	Body        io.ReadCloser
	Size        int64
	ContentType string
}

// write sends a handler's result.
func (r *Request) write(out any) error {
	code := r.route.Code
	if r.status != 0 {
		code = r.status
	}
	h := r.w.Header()
	switch v := out.(type) {
	case None:
		if code != http.StatusNoContent && code != http.StatusNotModified {
			h.Set("Content-Length", "0")
		}
		r.w.WriteHeader(code)
		return nil
	case JSON:
		return r.writeJSON(code, v)
	case *List:
		r.writeHead(code, v.size())
		if r.HTTP.Method != http.MethodHead {
			b := r.blocks.Get().(*[]byte)
			_ = v.writeTo(r.w, *b) // a client that went away is no error of ours
			r.blocks.Put(b)
		}
		return nil
	case *Stream:
		return r.writeStream(code, v)
	default:
		b, err := Marshal(v, r.MV)
		if err != nil {
			return err
		}
		return r.writeJSON(code, b)
	}
}

// writeHead starts a JSON answer.
func (r *Request) writeHead(code, size int) {
	h := r.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(size))
	r.w.WriteHeader(code)
	r.writable = false
}

func (r *Request) writeJSON(code int, b []byte) error {
	r.writeHead(code, len(b))
	if r.HTTP.Method != http.MethodHead {
		_, _ = r.w.Write(b) // a client that went away is no error of ours
	}
	return nil
}

func (r *Request) writeStream(code int, s *Stream) error {
	defer func() { _ = s.Body.Close() }()
	h := r.w.Header()
	if s.ContentType != "" {
		h.Set("Content-Type", s.ContentType)
	}
	if s.Size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(s.Size, 10))
	}
	r.w.WriteHeader(code)
	r.writable = false
	if r.HTTP.Method == http.MethodHead {
		return nil
	}
	r.TakeYourTime()
	n, err := io.Copy(r.w, s.Body)
	if err != nil || s.Size >= 0 && n != s.Size {
		r.Log.Warn("the answer broke off", "sent", n, "of", s.Size, "error", err)
		panic(http.ErrAbortHandler) // the only way to tell the client that it has not got everything
	}
	return nil
}
