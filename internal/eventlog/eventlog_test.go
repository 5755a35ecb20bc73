package eventlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/testkit"
)

func TestEvents(t *testing.T) {
	var last uint32
	for _, e := range Events() {
		if e.ID <= last {
			t.Errorf("%d comes after %d", e.ID, last)
		}
		last = e.ID
		for i := range e.Fields {
			if !strings.Contains(e.Text, "%"+strconv.Itoa(i+1)) {
				t.Errorf("%d does not show %s", e.ID, e.Fields[i])
			}
		}
		if strings.Count(e.Text, "%") != len(e.Fields) {
			t.Errorf("%d has %d fields for %q", e.ID, len(e.Fields), e.Text)
		}
		if e.Level.String() == "" || e.Name == "" {
			t.Errorf("%d has level %q and name %q", e.ID, e.Level, e.Name)
		}
	}
}

// Each code of an outcome has the event that docs/codes.md names, for a reset or a
// change, or has none there either.
func TestCodesHaveTheirEvents(t *testing.T) {
	documented := make(map[string]string)
	for _, row := range testkit.Table(t, "docs/codes.md", "## What became of a request")[1:] {
		documented[strings.Trim(row[0], "`")] = row[len(row)-1]
	}
	for _, code := range reset.Codes() {
		ids := strings.Split(documented[string(code)], ", ")
		for _, op := range []reset.Operation{reset.Reset, reset.Change} {
			e, ok := find(map[string]string{message: settled, "level": "info", obs.Code: string(code), obs.Operation: op.String()})
			switch {
			case !ok && documented[string(code)] != "–":
				t.Errorf("%s has no event, docs/codes.md says %q", code, ids)
			case ok && !slices.Contains(ids, fmt.Sprint(e.ID)):
				t.Errorf("a %s that ends as %s is event %d, docs/codes.md says %q", op, code, e.ID, ids)
			}
		}
	}
}

// A probe or an unlock that went well set no password.
func TestNoPasswordWasSet(t *testing.T) {
	for _, op := range []reset.Operation{reset.Unlock, reset.Probe} {
		line := map[string]string{message: settled, "level": "info", obs.Code: string(reset.Applied), obs.Operation: op.String()}
		if e, ok := find(line); ok {
			t.Errorf("a %s is event %d", op, e.ID)
		}
	}
}

// What the table calls the message of a line is what the programs write.
func TestLinesExist(t *testing.T) {
	var code strings.Builder
	for name, text := range testkit.Texts(t, "cmd/consumer/*.go", "internal/consumer/*.go", "internal/queue/*.go", "internal/eventlog/*.go") {
		if !strings.HasSuffix(name, "_test.go") {
			code.WriteString(text)
		}
	}
	for _, e := range Events() {
		switch {
		case e.Line == "", e.Line == failed: // any; our own
		case !strings.Contains(code.String(), `Msg("`+e.Line+`")`):
			t.Errorf("%d: no line says %q", e.ID, e.Line)
		}
	}
}

// docs/windows.md has the same table.
func TestDocumented(t *testing.T) {
	var want [][]string
	for _, e := range Events() {
		when := "`" + e.Line + "`"
		if e.Line == "" {
			when = "any other line of the level error"
		}
		if e.Operation != 0 {
			when += ", " + e.Operation.String()
		}
		for _, code := range e.Codes {
			when += ", `" + string(code) + "`"
		}
		want = append(want, []string{fmt.Sprint(e.ID), e.Name, e.Level.String(), when})
	}
	got := testkit.Table(t, "docs/windows.md", "## Event log")[1:]
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !slices.Equal(got[i], want[i]) {
			t.Errorf("row %d: the page has %q, the code has\n| %s |", i+1, at(got, i), strings.Join(at(want, i), " | "))
		}
	}
}

func at(rows [][]string, i int) []string {
	if i < len(rows) {
		return rows[i]
	}
	return nil
}
