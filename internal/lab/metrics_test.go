package lab

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// TestMetrics resets a password through real programs that have everything there
// is something to tell of, and compares what they serve with the tables of
// docs/monitoring/README.md.
func TestMetrics(t *testing.T) {
	l := startLab(t, "fake")
	authority, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Server("api", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(100 * 24 * time.Hour).UTC().Truncate(time.Second)
	pinned := func(list any) any {
		for _, pin := range list.([]any) {
			pin.(node)["not_after"] = end
		}
		return list
	}
	withCertificate := func(broker any) any {
		broker.(node)["cert_file"], broker.(node)["key_file"] = cert.CertFile, cert.KeyFile
		return broker
	}
	own := readNode(t, l.path("publisher", "publisher.yaml"))
	tenants := own["tenants"].([]any)
	tenants[0].(node)["consumers"] = pinned(tenants[0].(node)["consumers"])
	f := l.startFrontDoor(t, "watched", node{
		"tls": node{"cert_file": cert.CertFile, "key_file": cert.KeyFile}, "broker": withCertificate(own["broker"]), "tenants": tenants,
	})
	operations := operations(t, l.Dir, 2)
	for _, name := range []string{"consumer1", "consumer2"} {
		edit(t, l.path(name, "consumer.yaml"), func(cfg node) {
			cfg["publishers"], cfg["broker"] = pinned(cfg["publishers"]), withCertificate(cfg["broker"])
		})
		l.end(t, name, operations[name], syscall.SIGTERM)
	}

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	t.Cleanup(client.CloseIdleConnections)
	door := &Lab{APIURL: f.APIURL, Token: l.Token}
	user, password := l.Directory.Users[0], newCanary()
	await(t, "a reset", func() error {
		a, err := door.Reset(t.Context(), client, user.UPN, password)
		if err == nil && a.Code != "applied" {
			err = fmt.Errorf("%+v", a)
		}
		return err
	})
	for _, path := range []string{"/", portal.ResetPath} {
		resp, err := client.Get(f.APIURL + path)
		if err != nil || resp.Body.Close() != nil {
			t.Fatal(err)
		}
	}
	ids := tokenIDs(t, l)

	sides := map[string][]string{
		"Of a publisher": {f.operations},
		"Of a consumer":  {operations["consumer1"], operations["consumer2"]},
	}
	await(t, "a measurement of each step", func() error { // the last is taken after the answer
		took := map[string]uint64{} // samples by step, over all programs
		for _, programs := range sides {
			for _, url := range programs {
				for name, family := range familiesOf(t, metrics(t, url)) {
					if strings.HasSuffix(name, "_step_seconds") {
						for _, m := range family.Metric {
							took[m.Label[0].GetValue()] += m.Histogram.GetSampleCount()
						}
					}
				}
			}
		}
		for _, step := range append(obs.PublisherSteps(), obs.ConsumerSteps()...) {
			if took[string(step)] == 0 {
				return fmt.Errorf("nobody has measured the step %s", step)
			}
		}
		return nil
	})
	for heading, programs := range sides {
		documented := documented(t, "## Of every program", "## "+heading)
		for _, url := range programs {
			var text string
			var families map[string]*dto.MetricFamily
			await(t, "everything of "+heading+" is there", func() error {
				text = metrics(t, url)
				families = familiesOf(t, text)
				for name := range documented {
					if families[name] == nil {
						return fmt.Errorf("%s is documented and not there", name)
					}
				}
				return nil
			})
			for name, family := range families {
				want, ok := documented[name]
				if !ok && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
					t.Errorf("%s: %s is there and not documented", heading, name)
				}
				if ok {
					compare(t, want, family)
					sane(t, family, end)
				}
			}
			for _, secret := range append(ids, password, user.UPN, user.SAMAccountName, user.ObjectGUID, user.ImmutableID, l.Token, "demo") {
				if strings.Contains(text, secret) {
					t.Errorf("%s: the metrics have %q in them", heading, secret)
				}
			}
		}
	}
}

// tokenIDs returns the names of the tokens in force.
func tokenIDs(t *testing.T, l *Lab) (ids []string) {
	t.Helper()
	list, err := l.call(t.Context(), "publisher", "token", "-file", l.tokensFile(), "-list")
	if err != nil {
		t.Fatal(err)
	}
	ids = regexp.MustCompile(`(?m)^[0-9a-f]{8}\b`).FindAllString(list, -1)
	if len(ids) == 0 {
		t.Fatalf("no token is listed in\n%s", list)
	}
	return ids
}

func familiesOf(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// A row is what the page says of a metric.
type row struct {
	kind   string
	labels []string
}

func documented(t *testing.T, headings ...string) map[string]row {
	t.Helper()
	rows := make(map[string]row)
	for _, heading := range headings {
		for _, cells := range testkit.Table(t, "docs/monitoring/README.md", heading)[1:] {
			var labels []string
			for _, quoted := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[2], -1) {
				labels = append(labels, quoted[1])
			}
			rows[strings.Trim(cells[0], "`")] = row{cells[1], labels}
		}
	}
	return rows
}

// compare says what is not as the page has it, and which values of labels are from
// no closed set.
func compare(t *testing.T, want row, family *dto.MetricFamily) {
	t.Helper()
	name, sets := family.GetName(), closed(t)
	if kind := strings.ToLower(family.GetType().String()); kind != want.kind {
		t.Errorf("%s is a %s, and documented as a %s", name, kind, want.kind)
	}
	for _, m := range family.Metric {
		var labels []string
		for _, pair := range m.Label {
			labels = append(labels, pair.GetName())
			if !slices.Contains(sets[pair.GetName()], pair.GetValue()) {
				t.Errorf("%s has %s=%q, which is none of %q", name, pair.GetName(), pair.GetValue(), sets[pair.GetName()])
			}
		}
		if !slices.Equal(labels, slices.Sorted(slices.Values(want.labels))) {
			t.Errorf("%s has the labels %q, documented are %q", name, labels, want.labels)
		}
	}
}

// version is what the programs say of themselves: `make bin` stamps it.
func version(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(binaries(t), "publisher"), "-version").Output()
	version, _, ok := strings.Cut(strings.TrimPrefix(string(out), "publisher "), " (commit ")
	if err != nil || !ok {
		t.Fatalf("publisher -version: %v: %s", err, out)
	}
	return version
}

// closed are all values that a label can have.
func closed(t *testing.T) map[string][]string {
	t.Helper()
	sets := map[string][]string{
		"tenant":      {Tenant},
		"program":     {"publisher", "consumer"},
		"version":     {version(t)},
		"certificate": {"api", "broker", "client", "directory"},
		"credential":  {"token", "pin", "broker_user"},
		"how":         {"first_sight", "new_run", "two_runs"},
		"limit":       {"address", "caller", "account", "wrong_passwords", "streams"},
		"result":      {"signed_in", "away", "denied", "stale", "untrusted", "not_fresh", "signed_out"},
		"route":       {"/v1/resets", "none", portal.ResetPath},
		"status":      {"200", "400", "404"},
		"reason": {
			"not_a_request", "unknown_signer", "other_tenant", "clock", "in_hand_here", "sealed_for_another_replica", "records_unavailable",
			"records_broken", "records_missing", "records_full", "past_deadline", "claim_unknown", "claimed", "settle_unknown",
			"directory_unavailable", "in_doubt", "interrupted", "unsigned", "older", "fork", "missing",
		},
	}
	for _, code := range reset.Codes() {
		sets["code"] = append(sets["code"], string(code))
	}
	for _, step := range append(obs.PublisherSteps(), obs.ConsumerSteps()...) {
		sets["step"] = append(sets["step"], string(step))
	}
	return sets
}

// sane says which gauges cannot be right, shortly after a reset on programs that
// are well and of which what ends was made for the test; pins is when pins end.
func sane(t *testing.T, family *dto.MetricFamily, pins time.Time) {
	t.Helper()
	now := float64(time.Now().Unix())
	between := func(low, high float64) func(float64) bool {
		return func(v float64) bool { return v >= low && v <= high }
	}
	ages := map[string]func(float64) bool{
		"_up": between(1, 1), "_ready": between(1, 1), "_in_force": between(1, 1), "_info": between(1, 1), "_consumers_seen": between(1, 2),
		"_queued_requests": between(0, 1), "_in_hand_requests": between(0, 1), "_oldest_request_seconds": between(0, 60),
		"_key_age_seconds": between(0, 600), "_checkpoint_timestamp_seconds": between(now-600, now+1), "_clock_skew_seconds": between(-2, 2),
		"_waiting_events": between(0, 10), "_certificate_expiry_timestamp_seconds": between(now+3600, now+20*365*86400),
	}
	for _, m := range family.Metric {
		if m.Gauge == nil {
			continue
		}
		v, checked := m.Gauge.GetValue(), false
		for suffix, ok := range ages {
			if strings.HasSuffix(family.GetName(), suffix) {
				if checked = true; !ok(v) {
					t.Errorf("%s is %v", family.GetName(), v)
				}
			}
		}
		if strings.HasSuffix(family.GetName(), "_credential_expiry_timestamp_seconds") {
			want := map[string]float64{"pin": float64(pins.Unix()), "token": now + 30*86400}[m.Label[0].GetValue()]
			if checked = true; v < want-3600 || v > want+3600 {
				t.Errorf("%s of %s is %v, want about %v", family.GetName(), m.Label[0].GetValue(), v, want)
			}
		}
		if !checked {
			t.Errorf("%s: this test does not say what is right", family.GetName())
		}
	}
	kinds := map[string][]string{
		"writeback_publisher_certificate_expiry_timestamp_seconds": {"api", "broker", "client"},
		"writeback_consumer_certificate_expiry_timestamp_seconds":  {"broker", "client", "directory"},
		"writeback_publisher_credential_expiry_timestamp_seconds":  {"pin", "token"},
		"writeback_consumer_credential_expiry_timestamp_seconds":   {"pin"},
	}
	if want := kinds[family.GetName()]; want != nil {
		got := make(map[string]bool)
		for _, m := range family.Metric {
			got[m.Label[0].GetValue()] = true
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			t.Errorf("%s is there for %v, want %v", family.GetName(), got, want)
		}
	}
}
