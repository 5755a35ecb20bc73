package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWriter(t *testing.T) {
	tests := []struct {
		name, line, want string
	}{
		{"a reset that went well", `{"level":"info","request":"p-1","operation":"reset","code":"applied","dc":"dc1","took_ms":31.5,"message":"request settled"}`, `4 31002 ["p-1" "dc1"]`},
		{"a change that went well", `{"level":"info","request":"p-1","operation":"change","code":"applied","message":"request settled"}`, `4 31007 ["p-1" ""]`},
		{"a refusal", `{"level":"info","request":"p-1","operation":"reset","code":"not_permitted","dc":"dc1","cause":"result 50","message":"request settled"}`,
			`1 33004 ["p-1" "reset" "not_permitted" "dc1" "result 50"]`},
		{"a refusal without a cause", `{"level":"info","request":"p-1","operation":"reset","code":"account_not_found","message":"request settled"}`,
			`2 33002 ["p-1" "reset" "account_not_found" "" ""]`},
		{"a code that has no event", `{"level":"info","request":"p-1","operation":"reset","code":"expired","message":"request settled"}`, ""},
		{"the start", `{"level":"info","version":"v1.2.3","message":"consumer started"}`, `4 31015 ["v1.2.3"]`},
		{"the stop", `{"level":"info","message":"consumer stopped"}`, `4 31016 []`},
		{"the broker", `{"level":"warn","cause":"EOF","message":"broker disconnected"}`, `2 32002 ["EOF"]`},
		{"any error", `{"level":"error","cause":"why","message":"what"}`, `1 32000 ["what" "why"]`},
		{"a warning", `{"level":"warn","cause":"why","message":"what"}`, ""},
		{"no line of the log", "panic: oh", ""},
		{"no object", "7", ""},
		{"a zero character", `{"level":"error","cause":"a\u0000b","message":"what"}`, `1 32000 ["what" "ab"]`},
		{"a cause that is long", `{"level":"error","cause":"` + strings.Repeat("x", 999) + `é","message":"what"}`,
			`1 32000 ["what" "` + strings.Repeat("x", 999) + `"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			w := newWriter(func(level Level, id uint32, inserts []string) error {
				got = fmt.Sprintf("%d %d %q", level, id, inserts)
				return errors.New("full")
			})
			if n, err := w.Write([]byte(tt.line + "\n")); n != len(tt.line)+1 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			w.Close()
			if got != tt.want {
				t.Errorf("wrote %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFailed(t *testing.T) {
	var got []string
	w := newWriter(func(_ Level, id uint32, inserts []string) error {
		got = append(got, fmt.Sprintf("%d %q", id, inserts))
		return nil
	})
	w.Failed(errors.New("consumer.yaml: is empty"))
	w.Close()
	if want := []string{`31044 ["consumer.yaml: is empty"]`}; !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// An event log that hangs holds nobody up: neither those who write nor the end.
func TestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		written := 0
		w := newWriter(func(Level, uint32, []string) error {
			<-hang
			written++
			return nil
		})
		line := []byte(`{"level":"error","message":"what"}`)
		begun := time.Now()
		for range 2 * maxWaiting {
			w.Write(line)
		}
		w.Close()
		if took := time.Since(begun); took != closeLimit {
			t.Errorf("it took %s, want %s", took, closeLimit)
		}
		w.Write(line) // after the end
		w.Close()
		close(hang)
		<-w.done
		if written < maxWaiting || written > maxWaiting+1 {
			t.Errorf("%d events were written, want those that could wait", written)
		}
	})
}
