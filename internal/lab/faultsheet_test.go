package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"slices"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// A sheet is a row of the table in docs/faults.md, with the claims of each cell:
// what it has between backquotes.
type sheet struct {
	fault                      string
	logged, told, health, back claims
}

// Claims of a cell. Perhaps is what follows that word: it may be seen, or not.
type claims struct{ certain, perhaps []string }

var (
	span = regexp.MustCompile("`([^`]+)`")
	// claim is what a span looks like that says what is seen.
	claim = regexp.MustCompile(`^(publisher|consumer|…) (\w+: |\d{3} |is away)|^broker: |^page: |^status |^API |^\d{3}( |$)`)
)

func claimsOf(cell string) (c claims) {
	sure, maybe, _ := strings.Cut(cell, "perhaps")
	for list, text := range map[*[]string]string{&c.certain: sure, &c.perhaps: maybe} {
		for _, m := range span.FindAllStringSubmatch(text, -1) {
			if claim.MatchString(m[1]) {
				*list = append(*list, m[1])
			}
		}
	}
	return c
}

// has reports whether something that was seen is claimed.
func (c claims) has(seen string) bool {
	return slices.ContainsFunc(append(slices.Clone(c.certain), c.perhaps...), func(claim string) bool { return fits(claim, seen) })
}

// fits reports whether claim, in which … stands for anything, is all of seen.
func fits(claim, seen string) bool {
	parts := strings.Split(claim, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^(?s:" + strings.Join(parts, ".*") + ")$").MatchString(seen)
}

// sheets reads the table.
func sheets(t *testing.T) map[string]sheet {
	t.Helper()
	all := make(map[string]sheet)
	for _, cells := range testkit.Table(t, "docs/faults.md", "## Fault by fault")[1:] {
		name := strings.Trim(cells[0], "*")
		if _, ok := all[name]; ok {
			t.Fatalf("docs/faults.md has two rows %q", name)
		}
		all[name] = sheet{name, claimsOf(cells[1]), claimsOf(cells[2]), claimsOf(cells[3]), claimsOf(cells[4])}
	}
	return all
}

// A trial is one fault of a running system.
type trial struct {
	*testing.T
	*Lab
	e     *Endpoints
	sheet sheet
	from  map[string]int // length of each log when the fault began
	page  string         // a reset page that is open
	human *http.Client   // who has it open
	used  int
	url   map[string]string // operations listeners
}

func (tr *trial) begin() {
	tr.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tr.Fatal(err)
	}
	tr.human = &http.Client{Jar: jar}
	u := tr.Directory.Users
	if tr.page, err = tr.ResetPage(tr.Context(), u[len(u)-1].UPN); err != nil {
		tr.Fatal(err)
	}
	if got := tr.look(); got != "page: Set a new password" {
		tr.Fatalf("before: %s", got)
	}
	tr.ask("200 applied")
	tr.from = make(map[string]int)
	for _, name := range tr.programs() {
		tr.from[name] = len(tr.logOf(tr.T, name))
	}
}

func (tr *trial) programs() []string {
	return append(slices.Sorted(maps.Keys(tr.url)), "nats")
}

var heading = regexp.MustCompile(`(?s)<h1[^>]*>(.*?)</h1>`)

// look looks at the reset page that is open.
func (tr *trial) look() string {
	resp, err := tr.human.Get(tr.page)
	if err != nil {
		return "page: unreachable"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "page: " + err.Error()
	}
	m := heading.FindSubmatch(text)
	if m == nil {
		return fmt.Sprintf("page: %d", resp.StatusCode)
	}
	return "page: " + html.UnescapeString(strings.TrimSpace(string(m[1])))
}

// ask asks for resets, of one account after the other, until the answer is want.
func (tr *trial) ask(want string) (r response) {
	tr.Helper()
	await(tr.T, want, func() error {
		u := tr.Directory.Users[tr.used%(len(tr.Directory.Users)-1)]
		tr.used++
		var err error
		if r, err = tr.e.post(tr.Context(), "upn", u.UPN, fmt.Sprintf("Faulty-Word-%d", tr.used), "Prefer: wait=3"); err != nil {
			return err
		}
		if got := strings.TrimSpace(fmt.Sprintf("%d %s", r.Status, r.Code)); got != want {
			return fmt.Errorf("%s", r.Body)
		}
		return nil
	})
	return r
}

// lines returns what was logged since the fault began: "program level: message",
// with the cause, or what the broker wrote; and whether that is a complaint of ours.
func (tr *trial) lines() map[string]bool {
	all := make(map[string]bool)
	for _, name := range tr.programs() {
		for line := range bytes.Lines(tr.logOf(tr.T, name)[tr.from[name]:]) {
			if name == "nats" {
				all["broker: "+strings.TrimSpace(string(line))] = false
				continue
			}
			text, complaint := readable(line)
			all[strings.TrimRight(name, "123456789")+" "+text] = complaint
		}
	}
	return all
}

func readable(line []byte) (text string, complaint bool) {
	var e struct{ Level, Message, Cause, Error, Reason string }
	if err := json.Unmarshal(line, &e); err != nil {
		return "says: " + strings.TrimSpace(string(line)), true
	}
	text = e.Level + ": " + e.Message
	for _, f := range []string{e.Reason, e.Cause, e.Error} {
		if f != "" {
			text += " (" + f + ")"
		}
	}
	return text, e.Level != "info"
}

// unwell returns what programs say that is not well with them: "consumer 503
// directory: text", or of the API "status no_consumer".
func (tr *trial) unwell() map[string]bool {
	all := make(map[string]bool)
	for name, url := range tr.url {
		program := strings.TrimRight(name, "123456789")
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			all[program+" is away"] = true
			continue
		}
		var checks map[string]string
		err = json.NewDecoder(resp.Body).Decode(&checks)
		resp.Body.Close()
		if err != nil {
			tr.Fatal(err)
		}
		for check, text := range checks {
			if text != "ok" {
				all[fmt.Sprintf("%s %d %s: %s", program, resp.StatusCode, check, text)] = true
			}
		}
	}
	var status struct {
		Ready bool
		Code  string
	}
	r, err := tr.e.do(tr.Context(), http.MethodGet, "/v1/status", nil)
	if err == nil {
		err = json.Unmarshal([]byte(r.Body), &status)
	}
	switch {
	case err != nil:
		all["status unreachable"] = true
	case !status.Ready:
		all["status "+status.Code] = true
	}
	return all
}

// awaitAll waits until every claim has been seen.
func (tr *trial) awaitAll(what string, c []string, see func() map[string]bool) {
	tr.Helper()
	missing := slices.Clone(c)
	await(tr.T, what, func() error {
		seen := see()
		missing = slices.DeleteFunc(missing, func(claim string) bool {
			for s := range seen {
				if fits(claim, s) {
					return true
				}
			}
			return false
		})
		if len(missing) > 0 {
			return fmt.Errorf("docs/faults.md has %q, not seen among\n%s", missing, strings.Join(slices.Sorted(maps.Keys(seen)), "\n"))
		}
		return nil
	})
}

// during waits until everything has been seen that the row says of the time of the
// fault, and fails for what it does not say. Programs may be asked for a reset.
func (tr *trial) during() {
	tr.Helper()
	wait := "Prefer: wait=60" // who is to be answered is, on a slow machine too
	if tr.sheet.told.has("202") {
		wait = "Prefer: wait=1"
	}
	told := func() map[string]bool {
		all := map[string]bool{tr.look(): true}
		tr.used++
		u := tr.Directory.Users[tr.used%(len(tr.Directory.Users)-1)]
		if r, err := tr.e.post(tr.Context(), "upn", u.UPN, fmt.Sprintf("Faulty-Word-%d", tr.used), wait); err != nil {
			all["API unreachable"] = true
		} else {
			all[strings.TrimSpace(fmt.Sprintf("%d %s", r.Status, r.Code))] = true
		}
		return all
	}
	tr.awaitAll("what callers are told", tr.sheet.told.certain, told)
	tr.awaitAll("health", tr.sheet.health.certain, tr.unwell)
	tr.awaitAll("the log", tr.sheet.logged.certain, tr.lines)
	tr.nothingElse("told", tr.sheet.told, told())
	tr.nothingElse("health", tr.sheet.health, tr.unwell())
}

func (tr *trial) nothingElse(cell string, c claims, seen map[string]bool) {
	tr.Helper()
	for s := range seen {
		if !c.has(s) {
			tr.Errorf("%s: docs/faults.md does not have\n  `%s`", cell, s)
		}
	}
}

// after waits until everything is well again, by itself, and compares all complaints
// with the row.
func (tr *trial) after() {
	tr.Helper()
	tr.ask("200 applied")
	await(tr.T, "everything being well", func() error {
		if seen := tr.unwell(); len(seen) > 0 {
			return fmt.Errorf("%v", slices.Sorted(maps.Keys(seen)))
		}
		return nil
	})
	tr.awaitAll("the log of the return", tr.sheet.back.certain, tr.lines)
	if got := tr.look(); got != "page: Set a new password" {
		tr.Errorf("after: %s", got)
	}
	complaints := tr.lines()
	maps.DeleteFunc(complaints, func(_ string, complaint bool) bool { return !complaint })
	tr.nothingElse("logged", claims{append(slices.Clone(tr.sheet.logged.certain), tr.sheet.back.certain...), append(slices.Clone(tr.sheet.logged.perhaps), tr.sheet.back.perhaps...)}, complaints)
}
