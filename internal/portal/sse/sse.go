// Package sse sends server-sent events (HTML Living Standard, section 9.2) and
// bounds how many streams there are. A reader that is slow or gone keeps nobody
// waiting but its own stream, which then ends; it comes back with the id of the
// last event that it has.
package sse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	keepAlive    = 15 * time.Second // between signs of life: proxies end what is silent for longer
	writeTimeout = 10 * time.Second // for one event to leave
	retry        = time.Second      // before a browser comes back
)

// LastID returns the id of the last event that the reader has; 0 if it has none.
func LastID(r *http.Request) int {
	n, err := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// A Stream is one reader's.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	end     context.CancelCauseFunc

	mu sync.Mutex // guards writes to w
}

// Serve begins a stream, and calls f to fill it; the context ends with the reader.
// It returns f's error, or why nothing could be written.
func Serve(w http.ResponseWriter, r *http.Request, f func(context.Context, *Stream) error) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	s := &Stream{w: w, control: http.NewResponseController(w), end: cancel}
	// The server's time-outs are for requests that end soon. That of reading
	// would end this one, since the server reads on to see the reader leave.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy must not wait for more
	w.WriteHeader(http.StatusOK)
	if err := s.write(fmt.Appendf(nil, "retry: %d\n\n", retry.Milliseconds())); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	wg.Go(func() {
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.write([]byte(":\n\n"))
			case <-ctx.Done():
				return
			}
		}
	})
	return f(ctx, s)
}

// Send sends one event. data may have several lines.
func (s *Stream) Send(id int, event string, data []byte) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %d\nevent: %s\n", id, event)
	for line := range bytes.Lines(data) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// write sends b at once, or ends the stream.
func (s *Stream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		if _, err = s.w.Write(b); err == nil {
			err = s.control.Flush()
		}
	}
	if err != nil {
		s.end(err)
	}
	return err
}

// Places bound how many streams there are, in all and for one reader.
type Places struct {
	total, each int

	mu    sync.Mutex // guards what follows
	taken int
	by    map[string]int
}

// NewPlaces returns free places.
func NewPlaces(total, each int) *Places {
	return &Places{total: total, each: each, by: make(map[string]int)}
}

// Take takes a place for a reader, if there is one. It is given back once.
func (p *Places) Take(reader string) (giveBack func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.total || p.by[reader] >= p.each {
		return nil, false
	}
	p.taken++
	p.by[reader]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.by[reader]--; p.by[reader] == 0 {
			delete(p.by, reader)
		}
	}, true
}
