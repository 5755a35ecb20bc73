package eventlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

const (
	maxWaiting = 256         // events; more are lost, since no request may wait for them
	maxInsert  = 1000        // bytes of a field; Windows takes 31,839 characters (ReportEventW)
	closeLimit = time.Second // for what waits when the program ends
)

// report writes one event. An error of it is nobody's to mend.
type report func(level Level, id uint32, inserts []string) error

// A Writer takes the lines of a log, one JSON object each, and writes those that
// are an [Event]. It never waits and never fails: what Windows does not take in
// time is lost, and is in the log all the same.
type Writer struct {
	report report
	done   chan struct{} // closed when nothing is written any more

	mu      sync.Mutex
	waiting chan waiting // nil once the writer is closed
}

// waiting is one event that is to be written.
type waiting struct {
	event   Event
	inserts []string
}

func newWriter(r report) *Writer {
	w := &Writer{report: r, waiting: make(chan waiting, maxWaiting), done: make(chan struct{})}
	go w.run(w.waiting)
	return w
}

func (w *Writer) run(events <-chan waiting) {
	defer close(w.done)
	for e := range events {
		w.report(e.event.Level, e.event.ID, e.inserts) // what it returns has no better place to go
	}
}

// Write takes one line.
func (w *Writer) Write(b []byte) (int, error) {
	var fields map[string]any
	if json.Unmarshal(b, &fields) != nil {
		return len(b), nil // not a line of the log
	}
	line := make(map[string]string, len(fields))
	for name, value := range fields {
		line[name] = clean(fmt.Sprint(value))
	}
	event, ok := find(line)
	if !ok {
		return len(b), nil
	}
	inserts := make([]string, len(event.Fields))
	for i, name := range event.Fields {
		inserts[i] = line[name]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != nil {
		select {
		case w.waiting <- waiting{event, inserts}:
		default: // lost
		}
	}
	return len(b), nil
}

// clean makes s what an insert can be: short, and without zero characters.
func clean(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	return strings.ToValidUTF8(s[:min(len(s), maxInsert)], "")
}

// Failed writes that the program ends because of err.
func (w *Writer) Failed(err error) {
	log := zerolog.New(w)
	log.Error().AnErr(obs.Cause, err).Msg(failed)
}

// Close waits for what was written, but not for long.
func (w *Writer) Close() {
	w.mu.Lock()
	if w.waiting != nil {
		close(w.waiting)
		w.waiting = nil
	}
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(closeLimit):
	}
}
