package trail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/reset"
)

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// A memory is a log with a message a second; some of its sequences are missing.
type memory struct {
	first, last uint64
	start       time.Time
	missing     []uint64
	fail        uint64 // reading it ends in an error
}

var errRead = errors.New("reading")

func (m *memory) Bounds(context.Context) (uint64, uint64, error) { return m.first, m.last, nil }

func (m *memory) at(seq uint64) time.Time { return m.start.Add(time.Duration(seq) * time.Second) }

func (m *memory) Since(_ context.Context, at time.Time) (uint64, bool, error) {
	for seq := m.first; seq <= m.last; seq++ {
		if !m.at(seq).Before(at) && !slices.Contains(m.missing, seq) {
			return seq, true, nil
		}
	}
	return 0, false, nil
}

func (m *memory) Read(ctx context.Context, from, to uint64, f func(reset.Message) error) error {
	for seq := max(from, m.first); seq <= min(to, m.last); seq++ {
		if slices.Contains(m.missing, seq) {
			continue
		}
		if seq == m.fail {
			return errRead
		}
		if err := f(reset.Message{Seq: seq, Time: m.at(seq), Subject: "s", Data: fmt.Append(nil, seq)}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// walked returns what a walk reads, as "r1 r2 e1 ...".
func walked(t *testing.T, s Source, r Range) string {
	t.Helper()
	var got []string
	err := s.Walk(t.Context(), r, func(m Message) error {
		got = append(got, fmt.Sprintf("%c%d", m.Stream[0]|0x20, m.Seq))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, " ")
}

// Both sources read the same, whatever is asked for.
func TestWalk(t *testing.T) {
	live := Live{
		Records: &memory{first: 3, last: 12, start: noon, missing: []uint64{5, 6}},
		Events:  &memory{first: 1, last: 4, start: noon.Add(5500 * time.Millisecond)},
	}
	file := filepath.Join(t.TempDir(), "archive.json")
	var lines []byte
	for _, m := range collected(t, live) {
		lines = append(lines, line(t, m)...)
	}
	if err := os.WriteFile(file, lines, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		r    Range
		want string
	}{
		{"all", Range{}, "r3 r4 e1 r7 e2 r8 e3 r9 e4 r10 r11 r12"},
		{"from a sequence", Range{FromSeq: 8}, "r8 e3 r9 e4 r10 r11 r12"},
		{"to a sequence", Range{ToSeq: 8}, "r3 r4 e1 r7 e2 r8 e3"},
		{"from a sequence that is missing", Range{FromSeq: 5}, "r7 e2 r8 e3 r9 e4 r10 r11 r12"},
		{"to one before a missing one", Range{ToSeq: 4}, "r3 r4 e1"},
		{"from after the end", Range{FromSeq: 13}, ""},
		{"one record", Range{FromSeq: 9, ToSeq: 9}, "r9 e4"},
		{"from a time", Range{From: noon.Add(9 * time.Second)}, "r9 e4 r10 r11 r12"},
		{"to a time", Range{To: noon.Add(9 * time.Second)}, "r3 r4 e1 r7 e2 r8 e3"},
		{"after a position", Range{After: Position{Records: 8, Events: 1}}, "e2 e3 r9 e4 r10 r11 r12"},
		{"after all", Range{After: Position{Records: 12, Events: 4}}, ""},
		{"before everything", Range{To: noon}, ""},
		{"after everything", Range{From: noon.Add(time.Hour)}, ""},
	} {
		if got := walked(t, live, tt.r); got != tt.want {
			t.Errorf("live, %s: %s, want %s", tt.name, got, tt.want)
		}
		if got := walked(t, Archive{[]string{file}}, tt.r); got != tt.want {
			t.Errorf("archive, %s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := walked(t, Live{&memory{first: 1}, &memory{first: 1}}, Range{}); got != "" {
		t.Errorf("empty streams hold %s", got)
	}
}

func collected(t *testing.T, s Source) (all []Message) {
	t.Helper()
	err := s.Walk(t.Context(), Range{}, func(m Message) error {
		all = append(all, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWalkEnds(t *testing.T) {
	stop := errors.New("stop")
	live := Live{&memory{first: 1, last: 2000, start: noon}, &memory{first: 1, last: 2000, start: noon}}
	if err := live.Walk(t.Context(), Range{}, func(Message) error { return stop }); err != stop {
		t.Errorf("a reader that stops: %v", err)
	}
	live.Events = &memory{first: 1, last: 2000, start: noon, fail: 700}
	if err := live.Walk(t.Context(), Range{}, func(Message) error { return nil }); err != errRead {
		t.Errorf("a stream that cannot be read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := live.Walk(ctx, Range{}, func(Message) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// Whoever has read more than there is must be told: with new streams, or after a
// cut, it would wait for ever.
func TestBehind(t *testing.T) {
	live := Live{&memory{first: 1, last: 3, start: noon}, &memory{first: 1, last: 3, start: noon}}
	for _, after := range []Position{{Records: 4}, {Events: 4}} {
		r := Range{After: after}
		if err := live.Walk(t.Context(), r, func(Message) error { return nil }); !errors.Is(err, ErrBehind) {
			t.Errorf("after %+v: %v", after, err)
		}
		if err := live.Follow(t.Context(), r, func(Message) error { return nil }, func() error { return errRead }); !errors.Is(err, ErrBehind) {
			t.Errorf("following after %+v: %v", after, err)
		}
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := &memory{first: 1, last: 3, start: noon}
		live := Live{records, &memory{first: 1, start: noon}}
		ctx, cancel := context.WithCancel(t.Context())
		var got []uint64
		idle := 0
		err := live.Follow(ctx, Range{}, func(m Message) error {
			got = append(got, m.Seq)
			return nil
		}, func() error {
			if idle++; idle == 3 {
				cancel()
			}
			records.last += 2
			return nil
		})
		if err != nil || !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("following reads %v, %v", got, err)
		}
	})
}

func TestBrokenArchive(t *testing.T) {
	good := string(line(t, Message{Stream: Records, Message: reset.Message{Seq: 1, Time: noon}}))
	for name, text := range map[string]string{
		"half a line": good + good[:20], "another stream": strings.Replace(good, Records, "REQUESTS", 1),
		"no sequence": strings.Replace(good, `"seq":1`, `"seq":0`, 1), "no JSON": good + "hello\n",
		"a field more": strings.Replace(good, "{", `{"signed":true,`, 1), "a space more": strings.Replace(good, ",", ", ", 1),
		"a field twice": strings.Replace(good, "{", `{"seq":7,`, 1),
		"too long":      strings.Repeat("x", 2*maxLine) + "\n",
	} {
		file := filepath.Join(t.TempDir(), "archive.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (Archive{[]string{file}}).Walk(t.Context(), Range{}, func(Message) error { return nil }); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
	if err := (Archive{[]string{"/nonexistent"}}).Walk(t.Context(), Range{}, nil); err == nil {
		t.Error("a file that is not there is read")
	}
}
