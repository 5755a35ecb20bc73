package export

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

// world returns a trail with requests, and what reads it.
func world(t *testing.T, requests int) (trail.Reader, []trail.Message) {
	t.Helper()
	months := keys.Months(t, time.Now(), 2)
	memory := new(life.Memory)
	w, err := life.New(months, life.Side{Memory: memory, Name: "pub"}, life.Side{Memory: memory, Name: "con"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range requests {
		if _, err := w.Whole(t.Context(), "ada@corp.example.com", i%2, []reset.Code{reset.Applied, reset.AccountLocked}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	w.Stop()
	return trail.Reader{Verifier: w.Verifier, Months: months}, memory.Messages()
}

// given returns the files that an export to path has given away, in their order.
func given(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path)) // sorted
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), strings.TrimSuffix(filepath.Base(path), ".json")+"-") {
			names = append(names, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return names
}

// exported returns the lines of all files of an export, in their order.
func exported(t *testing.T, path string) [][]byte {
	t.Helper()
	var lines [][]byte
	for _, name := range append(given(t, path), path) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			t.Errorf("%s ends within a line", name)
		}
		lines = append(lines, bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))...)
	}
	return lines
}

// export adds the messages that a sink does not have, but stops after a few.
func add(t *testing.T, x *Exporter, all []trail.Message, stop int) {
	t.Helper()
	at := x.Sink.At()
	for _, m := range all {
		if at.Covers(m) {
			continue
		}
		if stop--; stop < 0 {
			return
		}
		if err := x.Add(m); err != nil {
			t.Fatal(err)
		}
	}
}

// An export that is killed at any point goes on without a line too few or too many.
func TestExactlyOnce(t *testing.T) {
	reader, all := world(t, 60)
	// Three days, so that files are also given away at midnight.
	for i := range all {
		all[i].Time = all[i].Time.Truncate(24 * time.Hour).Add(time.Duration(i) * 72 * time.Hour / time.Duration(len(all)))
	}
	for _, format := range []Format{ArchiveLines, ECSLines} {
		archive := format == ArchiveLines
		dir := filepath.Join(t.TempDir(), "[of] corp")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "trail.json")
		for round := 0; ; round++ {
			f, err := OpenFile(path, format, 40_000)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenFile(path, format, 40_000); err == nil {
				t.Fatal("two exports write one file")
			}
			add(t, &Exporter{Reader: reader, Format: format, Sink: f}, all, 17)
			if f.At() == (trail.Position{Records: 180, Events: all[len(all)-1].Seq}) {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				break
			}
			// A crash: some of what was written reaches the file, up to the
			// middle of a line.
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			f.lock.Close()
			info, err := f.file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := f.file.Truncate(max(0, info.Size()-int64(round*211%3000))); err != nil {
				t.Fatal(err)
			}
		}
		lines := exported(t, path)
		if len(lines) != len(all) {
			t.Fatalf("archive %t: %d lines for %d messages", archive, len(lines), len(all))
		}
		names := given(t, path)
		if len(names) < 4 {
			t.Errorf("archive %t: files given away: %v", archive, names)
		}
		for i, line := range lines {
			var got struct {
				Stream string
				Seq    uint64
				Event  struct {
					Dataset  string
					Sequence uint64
				}
			}
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatal(err)
			}
			stream, seq := got.Stream, got.Seq
			if !archive {
				stream, seq = strings.ToUpper(strings.TrimPrefix(got.Event.Dataset, "writeback.")), got.Event.Sequence
			}
			if stream != all[i].Stream || seq != all[i].Seq {
				t.Fatalf("archive %t: line %d is %s %d, want %s %d", archive, i, stream, seq, all[i].Stream, all[i].Seq)
			}
		}
		if !archive {
			continue
		}
		var back []trail.Message
		err := trail.Archive{Files: append(names, path)}.Walk(t.Context(), trail.Range{}, func(m trail.Message) error {
			back = append(back, m)
			return nil
		})
		if err != nil || !slices.EqualFunc(back, all, func(a, b trail.Message) bool {
			return a.Stream == b.Stream && a.Seq == b.Seq && a.Subject == b.Subject && bytes.Equal(a.Data, b.Data) && a.Time.Equal(b.Time)
		}) {
			t.Errorf("the archive does not hold what was exported: %v", err)
		}
	}
}

// A file that this export did not write is neither added to nor cut.
func TestFileOfSomebodyElse(t *testing.T) {
	reader, all := world(t, 1)
	dir := t.TempDir()
	ours := make(map[string]string)
	for _, format := range []Format{ECSLines, ArchiveLines} {
		path := filepath.Join(dir, string(format))
		f, err := OpenFile(path, format, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		add(t, &Exporter{Reader: reader, Format: format, Sink: f}, all, len(all))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ours[string(format)] = string(text)
	}
	for name, tt := range map[string]struct {
		text   string
		format Format
	}{
		"text": {"hello\n", ECSLines}, "JSON": {"{}\n", ECSLines}, "no lines": {strings.Repeat("x", 3*maxLine), ECSLines},
		"no line that is complete": {"hello", ECSLines}, "an end that is not complete": {"hello\nworld", ArchiveLines},
		"an archive": {ours["archive"], ECSLines}, "what is for a SIEM": {ours["ecs"], ArchiveLines},
	} {
		path := filepath.Join(t.TempDir(), "trail.json")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(path, tt.format, 1000); err == nil {
			t.Errorf("%s: it is written to", name)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != tt.text {
			t.Errorf("%s: it was changed: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "trail.json")
	if err := os.WriteFile(path, []byte(ours["archive"][:30]), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenFile(path, ArchiveLines, 1000); err != nil || f.size != 0 {
		t.Errorf("a first line that was cut short by a crash: %v", err)
	}
}

func TestECS(t *testing.T) {
	reader, all := world(t, 2)
	documents := make(map[string]map[string]any)
	at := trail.Position{}
	for _, m := range all {
		at.Pass(m)
		line, err := ECS("corp", reader.Read(m), at)
		if err != nil {
			t.Fatal(err)
		}
		var d map[string]any
		if err := json.Unmarshal(line, &d); err != nil || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%s: %v", line, err)
		}
		event := d["event"].(map[string]any)
		documents[event["action"].(string)+" "+text(event["code"])] = d
	}
	look := func(d map[string]any, path ...string) any {
		var v any = d
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return v
	}
	applied, locked, started := documents["reset-settled applied"], documents["reset-settled account_locked"], documents["started "]
	for _, tt := range []struct {
		d    map[string]any
		path string
		want any
	}{
		{applied, "event.outcome", "success"}, {locked, "event.outcome", "failure"}, {started, "event.outcome", nil},
		{applied, "event.kind", "event"}, {applied, "event.module", "writeback"}, {applied, "event.dataset", "writeback.records"},
		{started, "event.dataset", "writeback.events"}, {applied, "ecs.version", ecsVersion}, {applied, "organization.name", "corp"},
		{applied, "user.name", "helpdesk"}, {applied, "user.target.name", "ada@corp.example.com"}, {applied, "source.ip", "192.0.2.7"},
		{applied, "service.type", "consumer"}, {applied, "service.node.name", "consumer1"}, {applied, "writeback.caller", "portal"},
		{applied, "writeback.signed", true}, {applied, "writeback.operation", "reset"}, {started, "writeback.facts.version", "test"}, {started, "user", nil},
	} {
		if got := look(tt.d, strings.Split(tt.path, ".")...); got != tt.want {
			t.Errorf("%s is %v, want %v", tt.path, got, tt.want)
		}
	}
	if _, err := time.Parse(time.RFC3339, text(applied["@timestamp"])); err != nil || text(look(applied, "trace", "id")) == "" {
		t.Errorf("the document is %v", applied)
	}
	forged := all[len(all)-1]
	forged.Data = bytes.Clone(forged.Data)
	forged.Data[len(forged.Data)-1] ^= 1
	line, err := ECS("corp", reader.Read(forged), at)
	if err != nil || !bytes.Contains(line, []byte(`"kind":"alert"`)) {
		t.Errorf("what nobody has signed is %s, %v", line, err)
	}
	forged.Data = []byte("rubbish")
	if line, err = ECS("corp", reader.Read(forged), at); err != nil || !bytes.Contains(line, []byte(`"action":"unreadable"`)) {
		t.Errorf("rubbish is %s, %v", line, err)
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
