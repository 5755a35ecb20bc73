// Package imports says who may import whom, and why, as a test. The layers of
// the README are true because of it.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// A pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

const module = "writeback/"

// allowed is what each package may import of ours. A package that is not here
// fails the test: decide where it belongs first.
var allowed = map[string][]string{
	// Words and values that everybody shares; they know nobody.
	"internal/reset":  {},
	"internal/secret": {},
	"internal/config": {},                // whoever reads a file of secrets opens it with config
	"internal/cli":    {"secret", "obs"}, // protects the process before anything is read; says its version
	"internal/obs":    {},
	"internal/trace":  {"obs", "config"}, // nobody but cmd knows it

	// Windows: the service and its events.
	"internal/eventlog":     {"reset", "obs"},
	"internal/eventlog/gen": {"eventlog"},
	"internal/service":      {"cli", "config", "eventlog", "secret"},

	// Mechanisms.
	"internal/seal":     {"secret", "config"},
	"internal/unseal":   {"secret", "seal"},
	"internal/envelope": {"reset", "secret"},
	"internal/audit":    {"reset", "seal", "envelope", "obs"},
	"internal/trail":    {"reset", "seal", "envelope", "audit"},
	"internal/export":   {"reset", "trail", "config"},
	"internal/report":   {"reset", "trail", "inspect"},
	"internal/inspect":  {"reset", "seal", "envelope", "audit", "trail"},
	"internal/queue":    {"reset", "obs", "config"}, // carries bytes; never sees seal or secret
	"internal/tenants":  {"nats", "queue", "reset", "config"},
	"nats":              {},

	// The cloud side.
	"internal/portal":            {"reset", "secret", "obs", "portal/strictjson", "portal/sse"},
	"internal/portal/sse":        {},
	"internal/portal/pages":      {"reset", "obs", "portal", "portal/sse"},
	"internal/portal/resetpage":  {"reset", "secret", "portal", "portal/pages", "ticket"},
	"internal/portal/signinpage": {"portal/pages", "signin"},
	"internal/portal/changepage": {"reset", "secret", "portal", "portal/pages", "portal/resetpage", "portal/signinpage", "signin"},
	"internal/portal/adminpage":  {"reset", "secret", "portal", "portal/pages", "portal/resetpage", "portal/signinpage", "signin"},
	"internal/portal/strictjson": {},
	"internal/overview":          {"reset", "envelope", "audit"}, // what the records say in clear
	"internal/ticket":            {"reset", "secret", "seal", "envelope"},
	"internal/signin":            {"reset", "seal", "obs", "config"}, // who somebody is; knows no page
	"internal/publisher":         {"reset", "secret", "seal", "envelope", "audit", "overview", "obs"},

	// On premises.
	"internal/consumer":         {"reset", "secret", "seal", "unseal", "envelope", "audit", "guard", "obs"},
	"internal/directory":        {"reset", "secret", "obs", "directory/policy", "directory/rights"},
	"internal/directory/policy": {"reset", "secret"},
	"internal/directory/rights": {"reset"},
	"internal/guard":            {"reset", "secret", "config"},

	// Wiring.
	"cmd/publisher": {"trace", "reset", "secret", "config", "cli", "obs", "seal", "envelope", "audit", "queue", "portal", "portal/pages", "portal/resetpage", "portal/signinpage", "portal/changepage", "portal/adminpage", "signin", "publisher", "tenants", "ticket"},
	"cmd/consumer":  {"trace", "reset", "secret", "config", "cli", "obs", "seal", "unseal", "envelope", "audit", "queue", "consumer", "directory", "directory/policy", "guard", "service"},
	"cmd/audit":     {"reset", "config", "cli", "obs", "seal", "audit", "queue", "trail", "inspect", "export", "report"},
	"cmd/demo":      {"lab", "obs"},

	// What tests and the demo run on; nothing that ships imports it.
	"internal/testkit":                 {},
	"internal/testkit/pki":             {},
	"internal/testkit/npm":             {"testkit"},
	"internal/testkit/idp":             {"testkit/npm"},
	"internal/testkit/samba":           {"testkit", "testkit/pki"},
	"internal/testkit/fakead":          {"testkit", "testkit/pki"},
	"internal/testkit/broker":          {"queue", "testkit", "testkit/pki"},
	"internal/testkit/netns":           {"testkit"},
	"internal/testkit/browser":         {"testkit", "testkit/npm"},
	"internal/testkit/prometheus":      {"testkit"},
	"internal/testkit/tunnel":          {},
	"internal/testkit/withdomain":      {"testkit/samba"},
	"internal/directory/directorytest": {"directory", "reset", "secret", "testkit"},
	"internal/lab":                     {"queue", "testkit", "testkit/broker", "testkit/fakead", "testkit/samba"},
	"internal/lab/bench":               {"lab", "directory", "queue", "reset", "seal", "secret", "testkit/samba"},
	"internal/lab/soak":                {"lab", "testkit", "testkit/samba"},
	"internal/testkit/keys":            {"seal"},
	"internal/chaos":                   {"audit", "chaos/clock", "chaos/history", "chaos/proxy", "envelope", "inspect", "lab", "queue", "reset", "seal", "testkit", "testkit/samba", "trail"},
	"internal/chaos/campaign":          {"chaos", "lab"},
	"internal/chaos/clock":             {},
	"internal/chaos/history":           {"audit", "envelope", "reset"},
	"internal/chaos/proxy":             {"testkit/pki"},
	"internal/testkit/life":            {"audit", "envelope", "reset", "seal", "trail"},
	"internal/testkit/life/bench":      {"queue", "reset", "seal", "testkit", "testkit/broker", "testkit/life"},
	"internal/testkit/memq":            {"reset"},
	"internal/imports":                 {},
	"internal/docs":                    {},
	"internal/installed":               {},
	"internal/docs/reference":          {"testkit"},
}

// banned are single imports that would undo a promise, wherever they come in.
var banned = []struct{ importer, dep, why string }{
	{"cmd/publisher", module + "internal/unseal", "the cloud side cannot open what it sealed"},
	{"cmd/publisher", "github.com/go-ldap/ldap/v3", "the cloud side never speaks to the directory"},
	{"cmd/publisher", module + "internal/directory", "the cloud side never speaks to the directory"},
	{"cmd/consumer", module + "internal/portal", "the on-premises side serves no callers"},
	{"cmd/consumer", module + "internal/publisher", "the on-premises side makes no requests"},
	{"cmd/consumer", module + "internal/tenants", "the on-premises side signs no users of the broker"},
	{"cmd/publisher", module + "internal/testkit", "what is for tests does not ship"},
	{"cmd/consumer", module + "internal/testkit", "what is for tests does not ship"},
	{"cmd/publisher", module + "internal/chaos", "what is for tests does not ship"},
	{"cmd/consumer", module + "internal/chaos", "what is for tests does not ship"},
	{"cmd/audit", module + "internal/testkit", "what is for tests does not ship"},
	{"cmd/audit", module + "internal/unseal", "an auditor opens no requests"},
	{"cmd/audit", "github.com/go-ldap/ldap/v3", "an auditor never speaks to the directory"},
	{"cmd/demo", module + "internal/chaos", "the demo breaks nothing"},
}

// sole says which library has one package of ours that uses it, and its tests'
// servers.
var sole = map[string][]string{
	"github.com/nats-io/nats.go": {"internal/queue", "internal/testkit/broker"},
	"github.com/nats-io/jwt/v2":  {"internal/tenants"},
	"github.com/coreos/go-oidc":  {"internal/signin"},
	"golang.org/x/oauth2":        {"internal/signin"},
	"go.opentelemetry.io":        {"internal/trace"},
	// What is of Windows alone; the rest of the code knows no system.
	"golang.org/x/sys/windows": {"internal/config", "internal/secret", "internal/directory", "internal/eventlog", "internal/service", "internal/export", "cmd/consumer"},

	"github.com/go-ldap/ldap/v3": {"internal/directory", "internal/directory/directorytest", "internal/testkit/samba", "internal/testkit/fakead"},
}

// list returns all packages as a system has them.
func list(t *testing.T, system string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS="+system)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := make(map[string]pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

// violations returns what in packages is against the rules.
func violations(packages map[string]pkg) []string {
	var found []string
	for name, p := range packages {
		may, known := allowed[name]
		if !known {
			found = append(found, name+" has no rule: say in this file what it may import")
		}
		for _, dep := range p.Imports {
			if own, ok := strings.CutPrefix(dep, module); ok && !slices.Contains(may, strings.TrimPrefix(own, "internal/")) {
				found = append(found, name+" imports "+own+", which its layer must not know")
			}
			for library, users := range sole {
				if (dep == library || strings.HasPrefix(dep, library+"/")) && !slices.Contains(users, name) {
					found = append(found, name+" imports "+dep+", which only "+users[0]+" may")
				}
			}
		}
	}
	for _, b := range banned {
		p, ok := packages[b.importer]
		if !ok {
			found = append(found, b.importer+" does not exist any more: its rule is empty")
		}
		for _, dep := range p.Deps {
			if dep == b.dep || strings.HasPrefix(dep, b.dep+"/") {
				found = append(found, b.importer+" depends on "+dep+": "+b.why)
			}
		}
	}
	for name := range allowed {
		if _, ok := packages[name]; !ok && name != "internal/imports" {
			found = append(found, name+" has a rule and does not exist")
		}
	}
	return found
}

func TestImports(t *testing.T) {
	for _, system := range []string{"linux", "windows"} {
		for _, v := range violations(list(t, system)) {
			t.Errorf("%s: %s", system, v)
		}
	}
}

// A rule that cannot be broken proves nothing: each kind is broken once.
func TestImportsFindsViolations(t *testing.T) {
	tests := []struct {
		name, importer, dep, want string
	}{
		{"a leaf that knows somebody", "internal/reset", module + "internal/secret", "internal/reset imports internal/secret"},
		{"the portal past its interface", "internal/portal", module + "internal/publisher", "internal/portal imports internal/publisher"},
		{"the queue looking inside", "internal/queue", module + "internal/seal", "internal/queue imports internal/seal"},
		{"a second user of the broker's library", "internal/consumer", "github.com/nats-io/nats.go/jetstream", "which only internal/queue may"},
		{"another that knows Windows", "internal/consumer", "golang.org/x/sys/windows/svc", "which only internal/config may"},
		{"a second user of LDAP", "internal/guard", "github.com/go-ldap/ldap/v3", "which only internal/directory may"},
		{"the cloud able to open", "cmd/publisher", module + "internal/unseal", "cannot open what it sealed"},
		{"a package without a rule", "internal/novel", "fmt", "has no rule"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			packages := list(t, "linux")
			p := packages[tt.importer]
			p.Imports = append(slices.Clone(p.Imports), tt.dep)
			p.Deps = append(slices.Clone(p.Deps), tt.dep)
			packages[tt.importer] = p
			found := strings.Join(violations(packages), "\n")
			if !strings.Contains(found, tt.want) {
				t.Errorf("violations = %q, want one with %q", found, tt.want)
			}
		})
	}
}

// opening are the names of crypto/hpke that open, or make a key that can.
var opening = []string{"hpke.Open", "hpke.NewRecipient", "GenerateKey()", "NewPrivateKey(", "DeriveKeyPair("}

// No package but unseal names the opening half of HPKE. (The symbol table cannot
// show it: crypto/tls links HPKE itself.)
func TestOnlyUnsealOpens(t *testing.T) {
	const users = "internal/unseal/unseal.go"
	out, err := exec.Command("git", "-C", "../..", "grep", "-l", "crypto/hpke", "--", "*.go").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	files := strings.Fields(string(out))
	if !slices.Contains(files, users) {
		t.Fatalf("%s does not import crypto/hpke: this test looks at the wrong files", users)
	}
	for _, file := range files {
		// What is for tests does not ship.
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/testkit/") || path.Dir(file) == path.Dir(users) {
			continue
		}
		for _, name := range opening {
			args := []string{"-C", "../..", "grep", "-nF", name, "--", file}
			if found, err := exec.Command("git", args...).Output(); err == nil {
				t.Errorf("%s: only internal/unseal may name what opens:\n%s", file, found)
			}
		}
	}
}
