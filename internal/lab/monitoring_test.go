package lab

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"writeback/internal/testkit"
	"writeback/internal/testkit/browser"
	"writeback/internal/testkit/prometheus"
)

// Files of docs/monitoring.
const (
	alertsFile    = "alerts.yml"
	dashboardFile = "dashboard.json"
)

// absent are queries of the dashboard that have no values in this test, and why;
// unscraped is the metric that is not there for the same reason.
var absent = map[string]string{
	"Credentials end in B": "the lab's consumers pin keys without an end, and their broker users have none",
}

const unscraped = "writeback_consumer_credential_expiry_timestamp_seconds"

// TestMonitoring has a real Prometheus look at real programs, with the rules of
// docs/monitoring: everything that rules and dashboard ask for is there, nothing
// raises an alarm that should not, and what should does.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	e := l.endpoints(t)
	p := startPrometheus(t, operations(t, l.Dir, 2))
	await(t, "the first scrapes", func() error {
		up, err := p.Query(t.Context(), `up == 1`)
		if err == nil && len(up) != 3 {
			err = fmt.Errorf("%d targets are up: %v", len(up), up)
		}
		return err
	})
	for i := range 5 {
		wantApplied(t, e, "upn", l.Directory.Users[i].UPN, newCanary())
	}
	rules, err := prometheus.ReadRules(monitoringFile(t, alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	dashboard, err := prometheus.ReadDashboard(monitoringFile(t, dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	used := wantValues(t, p, dashboard)
	for _, r := range rules {
		if _, err := p.Query(t.Context(), r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		used = append(used, prometheus.Metrics(r.Expr)...)
	}
	wantScraped(t, p, used)
	p.awaitSilence(t)

	for i := range 2 {
		l.remove(consumerName(i))
	}
	p.awaitFiring(t, "WritebackNoConsumer")
	p.awaitFiring(t, "WritebackDown")
	pending, err := p.Query(t.Context(), `last_over_time(ALERTS{alertname="WritebackNoConsumer", alertstate="pending"}[1h])`)
	if err != nil || len(pending) != 1 {
		t.Errorf("WritebackNoConsumer waited for nothing: %v, %v", pending, err)
	}
	lookAt(t, p)
	if err := l.startConsumers(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.awaitSilence(t)
}

// A watcher is Prometheus with the rules of docs/monitoring.
type watcher struct{ *prometheus.Server }

// awaitFiring waits until a critical alert of the lab's tenant fires.
func (w watcher) awaitFiring(t *testing.T, name string) {
	t.Helper()
	await(t, name, func() error {
		alerts, err := w.Alerts(t.Context())
		if err == nil && !slices.ContainsFunc(alerts, func(a prometheus.Alert) bool {
			return a.Labels["alertname"] == name && a.Labels["severity"] == "critical" && a.Labels["tenant"] == Tenant && a.State == "firing"
		}) {
			err = fmt.Errorf("the alerts are %v", alerts)
		}
		return err
	})
}

// awaitSilence waits until no alert is pending or firing.
func (w watcher) awaitSilence(t *testing.T) {
	t.Helper()
	await(t, "the end of all alerts", func() error {
		alerts, err := w.Alerts(t.Context())
		if err == nil && len(alerts) != 0 {
			err = fmt.Errorf("there are %v", alerts)
		}
		return err
	})
}

func monitoringFile(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(testkit.Root(t), "docs", "monitoring", name)
}

// waits are how long the rules want something to last, and what tests have it be.
var waits = regexp.MustCompile(`(?m)^( +for: ).*$`)

const shortWait = "${1}3s"

// startPrometheus runs it with the jobs of docs/monitoring/prometheus.yml, and the
// rules but for how long they wait. programs are their operations listeners.
func startPrometheus(t *testing.T, programs map[string]string) watcher {
	t.Helper()
	rules, err := os.ReadFile(monitoringFile(t, alertsFile))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	short := waits.ReplaceAll(rules, []byte(shortWait))
	if err := os.WriteFile(filepath.Join(dir, alertsFile), short, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := readNode(t, monitoringFile(t, "prometheus.yml"))
	cfg["global"] = node{"scrape_interval": "1s", "evaluation_interval": "1s"}
	targets := make(map[string][]string) // by job
	for name, address := range programs {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		job := "writeback-" + strings.TrimRight(name, "0123456789")
		targets[job] = append(targets[job], u.Host)
	}
	for _, job := range cfg["scrape_configs"].([]any) {
		static := job.(node)["static_configs"].([]any)[0].(node)
		static["targets"] = targets[job.(node)["job_name"].(string)]
	}
	path := filepath.Join(dir, "prometheus.yml")
	if err := write(path, cfg); err != nil {
		t.Fatal(err)
	}
	s, err := prometheus.Start(t.Context(), path, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return watcher{s}
}

// chosen are the variables of the dashboard, with all chosen, and how far back
// Grafana would have rates look.
var chosen = strings.NewReplacer("$tenant", ".*", "$instance", ".*", "$__rate_interval", "5m")

// wantValues runs the queries of a dashboard, and returns the metrics in them.
func wantValues(t *testing.T, p watcher, d *prometheus.Dashboard) (used []string) {
	t.Helper()
	for _, v := range d.Templating.List {
		if query, ok := v.Query.(map[string]any); ok {
			used = append(used, prometheus.Metrics(query["query"].(string))...)
		}
	}
	asked := make(map[string]bool)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			name, query := panel.Title+" "+target.RefID, chosen.Replace(target.Expr)
			used = append(used, prometheus.Metrics(query)...)
			ask := func() error {
				samples, err := p.Query(t.Context(), query)
				if err == nil && !slices.ContainsFunc(samples, func(s prometheus.Sample) bool { return s.Value[1] != "NaN" }) {
					err = errNoValue
				}
				return err
			}
			if absent[name] == "" {
				await(t, name+": "+query, ask)
			} else if err := ask(); !errors.Is(err, errNoValue) {
				t.Errorf("%s has values although %s: %v", name, absent[name], err)
			}
			asked[name] = true
		}
	}
	for name := range absent {
		if !asked[name] {
			t.Errorf("the dashboard has no query %s", name)
		}
	}
	return used
}

var errNoValue = errors.New("it has no value")

// wantScraped looks for metrics among those that Prometheus has.
func wantScraped(t *testing.T, p watcher, used []string) {
	t.Helper()
	samples, err := p.Query(t.Context(), `count by (__name__) ({__name__=~"writeback_.+"})`)
	if err != nil {
		t.Fatal(err)
	}
	scraped := make(map[string]bool)
	for _, s := range samples {
		scraped[s.Metric["__name__"]] = true
	}
	slices.Sort(used)
	for _, name := range slices.Compact(used) {
		if scraped[name] == (name == unscraped) {
			t.Errorf("%s was scraped: %t", name, scraped[name])
		}
	}
}

// lookAt reads the page with the alerts, as far as it is about those that fire, and
// takes a picture of it.
func lookAt(t *testing.T, p watcher) {
	t.Helper()
	tab := browser.Start(t).Tab(t, browser.Desk())
	tab.Open(p.URL + "/classic/alerts")
	tab.Click("div.show-annotations")
	browser.Eval[int](tab, `$(".alert_header.alert-danger").click().length`)
	tab.AwaitText("No consumer of corp is connected")
	tab.Picture(t.ArtifactDir(), "prometheus-alerts")
}
