package prometheus

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const config = `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
`

const rules = `
groups:
  - name: sample
    rules:
      - {alert: Always, expr: vector(7), labels: {severity: warning}, annotations: {summary: "it is {{ $value }}"}}
      - {alert: Never, expr: vector(7) > 8}
`

func write(t *testing.T, config string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "prometheus.yml")
	for name, text := range map[string]string{path: config, filepath.Join(dir, "rules.yml"): rules} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, path
}

func TestServer(t *testing.T) {
	dir, path := write(t, config)
	s, err := Start(t.Context(), path, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	samples, err := s.Query(t.Context(), `vector(6) * 7`)
	if err != nil || len(samples) != 1 || samples[0].Value[1] != "42" {
		t.Errorf("6 times 7 is %+v, %v", samples, err)
	}
	if _, err := s.Query(t.Context(), `sum(`); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("half an expression: %v", err)
	}
	var alerts []Alert
	err = backoff.Retry(func() (err error) {
		if alerts, err = s.Alerts(t.Context()); err == nil && len(alerts) == 0 {
			err = errors.New("no alert")
		}
		return err
	}, backoff.WithMaxRetries(backoff.NewConstantBackOff(100*time.Millisecond), 600))
	if err != nil || len(alerts) != 1 || alerts[0].Labels["alertname"] != "Always" || alerts[0].State != "firing" || alerts[0].Annotations["summary"] != "it is 7" {
		t.Errorf("alerts are %+v, %v", alerts, err)
	}
	s.Stop()
	if _, err := s.Query(t.Context(), `1`); err == nil {
		t.Error("it answers after its end")
	}
}

func TestServerRefusesConfiguration(t *testing.T) {
	dir, path := write(t, "unheard_of: 1\n")
	if s, err := Start(t.Context(), path, dir); err == nil || !strings.Contains(err.Error(), "unheard_of") {
		if err == nil {
			s.Stop()
		}
		t.Errorf("Start = %v, want what is wrong with the file", err)
	}
}

func TestPromtool(t *testing.T) {
	dir, _ := write(t, config)
	if out, err := Promtool(t.Context(), dir, "check", "rules", "rules.yml"); err != nil || !strings.Contains(out, "2 rules found") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := Promtool(t.Context(), dir, "check", "rules", "prometheus.yml"); err == nil {
		t.Errorf("no rules are rules: %s", out)
	}
}

func TestReadRules(t *testing.T) {
	dir, _ := write(t, config)
	list, err := ReadRules(filepath.Join(dir, "rules.yml"))
	if err != nil || len(list) != 2 || list[0].Alert != "Always" || list[0].Labels["severity"] != "warning" || list[1].Expr != "vector(7) > 8" {
		t.Errorf("read %+v, %v", list, err)
	}
}

func TestMetrics(t *testing.T) {
	got := Metrics(`sum(rate(writeback_b_total{x="y"}[5m])) / writeback_a + writeback_b_total`)
	if want := []string{"writeback_a", "writeback_b_total"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
