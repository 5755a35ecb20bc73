package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"writeback/internal/cli"
)

// The service starts in a folder of its own, so that it is told whole paths.
func TestServiceSettings(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	got, err := serviceSettings("consumer.yaml", "", `CORP\writeback$`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"run", "-config", filepath.Join(dir, "consumer.yaml"), "-log", filepath.Join(dir, "log", "consumer.log")}
	if !slices.Equal(got.Args, want) || !filepath.IsAbs(got.Program) || got.Account != `CORP\writeback$` {
		t.Errorf("got %+v, want arguments %q", got, want)
	}
	if got, err := serviceSettings("/etc/writeback/consumer.yaml", "mine.log", ""); err != nil || got.Args[4] != filepath.Join(dir, "mine.log") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Elsewhere the command says where it exists, and always that nobody has run it.
func TestServiceElsewhere(t *testing.T) {
	for _, verb := range []string{"install", "remove", "start"} {
		var out strings.Builder
		err := manage(t.Context(), []string{verb}, cli.Streams{Out: &out, Err: &out})
		if err == nil || !strings.Contains(err.Error(), "on Windows only") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	for _, args := range [][]string{nil, {"destroy"}, {"-help"}} {
		var out strings.Builder
		if err := manage(t.Context(), args, cli.Streams{Out: &out, Err: &out}); err == nil {
			t.Errorf("%q is taken", args)
		}
		if !strings.Contains(out.String(), "never run on Windows") {
			t.Errorf("%q: the usage is %q", args, out.String())
		}
	}
}
