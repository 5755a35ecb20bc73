package main

import (
	"testing"

	"writeback/internal/testkit"
)

// A short run, to see that everything can be read that is written: its figures
// mean nothing here.
func TestRun(t *testing.T) {
	t.Chdir(testkit.Root(t))
	if err := run(t.Context(), 3000); err != nil {
		t.Fatal(err)
	}
}
