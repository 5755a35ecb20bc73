package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Table returns the first table below a heading of a page, row by row and cell by
// cell, the head first. page is a path below the root of the repository.
func Table(t testing.TB, page, heading string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), page))
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", page, heading)
	}
	var rows [][]string
	for line := range strings.Lines(below) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#") || len(rows) > 0 && line == "":
			if len(rows) < 3 {
				t.Fatalf("%s: no table below %q", page, heading)
			}
			return append(rows[:1], rows[2:]...) // without the line under the head
		case strings.HasPrefix(line, "|"):
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			if len(rows) > 0 && len(cells) != len(rows[0]) {
				t.Fatalf("%s: a row has %d cells, want %d: %s", page, len(cells), len(rows[0]), line)
			}
			rows = append(rows, cells)
		}
	}
	t.Fatalf("%s: the table below %q does not end with an empty line", page, heading)
	return nil
}
