package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"writeback/internal/testkit"
	"writeback/internal/testkit/prometheus"
)

// TestAlertRules has Prometheus's own tool look at what is written for it, and play
// every alert through.
func TestAlertRules(t *testing.T) {
	dir := filepath.Join(testkit.Root(t), "docs", "monitoring")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "alerts.yml"},
		{"test", "rules", "alerts_test.yml"},
	} {
		if out, err := prometheus.Promtool(t.Context(), dir, args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// severities are whom an alert is for, and heads of runbook entries what they answer.
var (
	severities = []string{"critical", "warning"}
	answers    = []string{"- **Means**: ", "- **Users**: ", "- **Look**: ", "- **Do**: ", "- **Ends**: "}
)

// TestAlertsAreExplained holds alerts, their tests and the runbook together.
func TestAlertsAreExplained(t *testing.T) {
	root := testkit.Root(t)
	rules, err := prometheus.ReadRules(filepath.Join(root, "docs", "monitoring", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := read(t, root, "docs", "monitoring", "alerts_test.yml")
	entries := runbook(t, read(t, root, "docs", "runbook.md"))
	known := make(map[string]bool)
	for _, r := range rules {
		known[r.Alert] = true
		if r.For == "" || !slices.Contains(severities, r.Labels["severity"]) || len(r.Annotations["summary"]) < 40 {
			t.Errorf("%s: for %q, severity %q, summary %q", r.Alert, r.For, r.Labels["severity"], r.Annotations["summary"])
		}
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: its runbook is at %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		if entries[r.Alert] == "" {
			t.Errorf("%s has no entry in the runbook", r.Alert)
		}
		if !regexp.MustCompile(`alertname: ` + r.Alert + `\n +eval_time: [^\n]*\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("no test has %s fire", r.Alert)
		}
		if !strings.Contains(tests, "{alertname: "+r.Alert+", eval_time: ") {
			t.Errorf("no test has %s be silent", r.Alert)
		}
	}
	for name, text := range entries {
		if !known[name] {
			t.Errorf("the runbook has %s, which is no alert", name)
		}
		var lines []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		if len(lines) != len(answers) {
			t.Errorf("the entry of %s has %d lines, want %d", name, len(lines), len(answers))
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, answers[i]) {
				t.Errorf("line %d of %s does not begin with %q: %s", i+1, name, answers[i], line)
			}
		}
	}
}

// runbook returns the entries of the part "Alerts", by alert.
func runbook(t *testing.T, page string) map[string]string {
	t.Helper()
	_, part, found := strings.Cut("\n"+page, "\n## Alerts\n")
	if !found {
		t.Fatal("the runbook has no part Alerts")
	}
	part, _, _ = strings.Cut(part, "\n## ")
	entries := make(map[string]string)
	for _, entry := range strings.Split(part, "\n### ")[1:] {
		name, text, _ := strings.Cut(entry, "\n")
		entries[name] = text
	}
	return entries
}

// quoted are the words of a log line in the runbook: `message` of the log.
var quoted = regexp.MustCompile("log(?:s)? `([^`]+)`")

// TestRunbookQuotesLogs finds every message of the log that the runbook tells people
// to look for in the code.
func TestRunbookQuotesLogs(t *testing.T) {
	root := testkit.Root(t)
	messages := quoted.FindAllStringSubmatch(read(t, root, "docs", "runbook.md"), -1)
	if len(messages) < 5 {
		t.Fatalf("the runbook quotes %d messages: this test looks for the wrong thing", len(messages))
	}
	var code strings.Builder
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				code.WriteString(read(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range messages {
		if !strings.Contains(code.String(), `Msg("`+m[1]) {
			t.Errorf("no program logs %q", m[1])
		}
	}
}

// TestDashboard reads the dashboard as Grafana does, as far as we know what it wants.
func TestDashboard(t *testing.T) {
	d, err := prometheus.ReadDashboard(filepath.Join(testkit.Root(t), "docs", "monitoring", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 39 {
		t.Errorf("the dashboard is %q, %q, of schema %d", d.Title, d.UID, d.SchemaVersion)
	}
	source := prometheus.Datasource{Type: "prometheus", UID: "${datasource}"}
	names := make(map[string]bool)
	for _, v := range d.Templating.List {
		names[v.Name] = true
		if v.Type == "query" && (v.Datasource != source || v.AllValue != ".*") {
			t.Errorf("the variable %s has the datasource %v and %q for all", v.Name, v.Datasource, v.AllValue)
		}
	}
	if !names["datasource"] || !names["tenant"] || !names["instance"] {
		t.Errorf("the variables are %v", names)
	}
	ids, titles, taken := make(map[int]bool), make(map[string]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" || titles[p.Title] {
			t.Errorf("panel %d, %q: its id or title is missing or another's", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies on %q or beyond the edge, at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || p.Datasource != source || len(p.Targets) == 0 {
			t.Errorf("%q has the unit %q, the datasource %v and %d queries", p.Title, p.FieldConfig.Defaults.Unit, p.Datasource, len(p.Targets))
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if target.Expr == "" || target.LegendFormat == "" || refs[target.RefID] || !strings.Contains(target.Expr, `instance=~"$instance"`) {
				t.Errorf("%q: the query %s is %s, with the legend %q", p.Title, target.RefID, target.Expr, target.LegendFormat)
			}
			refs[target.RefID] = true
		}
	}
}

// read returns the text of a file.
func read(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
