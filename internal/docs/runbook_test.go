package docs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"writeback/internal/portal"
	"writeback/internal/reset"
)

// runbookEntry is one of a code, as the runbook must begin it.
type runbookEntry struct{ title, sentence string }

// runbookEntries are those that there must be.
func runbookEntries() (outcomes, refusals []runbookEntry) {
	for _, c := range reset.Codes() {
		_, text, _ := portal.Sentence(reset.Reset, c)
		outcomes = append(outcomes, runbookEntry{"`" + string(c) + "`", text})
	}
	for _, c := range reset.RefusalCodes() {
		_, text, _ := portal.RefusalSentence(c)
		title := "`" + string(c) + "`"
		if c == reset.RefusedInvalid { // there is an outcome of that name
			title = "Refusal " + title
		}
		refusals = append(refusals, runbookEntry{title, text})
	}
	return outcomes, refusals
}

// wrongEntries says what is wrong with the entries of a part of the runbook.
func wrongEntries(part string, want []runbookEntry) (problems []string) {
	entries := strings.Split(part, "\n#### ")[1:]
	for _, w := range want {
		at := slices.IndexFunc(entries, func(e string) bool { return strings.HasPrefix(e, w.title+"\n") })
		if at < 0 {
			problems = append(problems, "there is no entry of "+w.title)
			continue
		}
		lines := strings.Split(entries[at], "\n")
		for n, begins := range []string{w.title, "", "- **Means**: ", "- **Users**: " + w.sentence, "- **Look**: ", "- **Do**: "} {
			if n >= len(lines) || !strings.HasPrefix(lines[n], begins) || strings.HasSuffix(lines[n], ": ") || n == 3 && lines[n] != begins {
				problems = append(problems, fmt.Sprintf("line %d of the entry of %s must be %q", n+1, w.title, begins))
			}
		}
		entries = slices.Delete(entries, at, at+1)
	}
	for _, e := range entries {
		title, _, _ := strings.Cut(e, "\n")
		problems = append(problems, "there is no code for the entry "+title)
	}
	return problems
}

// TestRunbookOfCodes holds the runbook against both closed sets.
func TestRunbookOfCodes(t *testing.T) {
	_, rest, found := strings.Cut(manuals(t)["docs/runbook.md"], "\n## Codes\n")
	codes, _, _ := strings.Cut(rest, "\n## ")
	first, second, split := strings.Cut(codes, "\n### Refusals\n")
	if !found || !split {
		t.Fatal("docs/runbook.md has no part about codes, or no refusals in it")
	}
	outcomes, refusals := runbookEntries()
	for _, problem := range slices.Concat(wrongEntries(first, outcomes), wrongEntries(second, refusals)) {
		t.Errorf("docs/runbook.md: %s", problem)
	}
}

func TestWrongEntries(t *testing.T) {
	good := "\n#### `a`\n\n- **Means**: It is.\n- **Users**: Yes.\n- **Look**: There.\n- **Do**: Nothing.\n"
	want := []runbookEntry{{"`a`", "Yes."}}
	for part, n := range map[string]int{
		good:                                   0,
		"":                                     1,
		good + good:                            1,
		strings.Replace(good, "Yes", "No", 1):  1,
		strings.Replace(good, "`a`", "`b`", 1): 2,
		strings.Replace(good, "**Do**: Nothing.", "**Do**: ", 1): 1,
	} {
		if got := wrongEntries(part, want); len(got) != n {
			t.Errorf("%q: %q, want %d", part, got, n)
		}
	}
}
