package main

import (
	"errors"
	"strings"
	"testing"

	"writeback/internal/directory"
)

func TestTell(t *testing.T) {
	var b strings.Builder
	good := directory.Finding{What: "broker: streams"}
	if err := tell(&b, []directory.Finding{good}); err != nil || b.String() != "ok    broker: streams\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
	b.Reset()
	bad := directory.Finding{What: "right", Err: errors.Join(errors.New("missing"), errors.New("late")), Remedy: []string{"dsacls x", "samba-tool y"}}
	err := tell(&b, []directory.Finding{good, bad})
	if want := "ok    broker: streams\nFAIL  right: missing: late\n      dsacls x\n      samba-tool y\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if err == nil || err.Error() != "1 of 2 checks failed" {
		t.Errorf("got %v", err)
	}
}
