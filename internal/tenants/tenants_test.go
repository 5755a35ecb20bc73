package tenants

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/jwt/v2"

	"writeback/internal/queue"
	"writeback/nats"
)

func create(t *testing.T) *Operator {
	t.Helper()
	o, err := Create(filepath.Join(t.TempDir(), "operator.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// Every user of accounts.conf has an account of its own, and what the file says in
// a way that is not understood here is refused: it would be passed over.
func TestModel(t *testing.T) {
	m, err := model()
	if err != nil {
		t.Fatal(err)
	}
	roles := make(map[queue.Role]string)
	for name, a := range m {
		roles[a.role] = name
	}
	want := map[queue.Role]string{
		queue.Publisher: accountPublishers, queue.Consumer: "CORP_CONSUMERS", queue.Auditor: "CORP_AUDITORS",
		queue.Provisioner: modelAccount, queue.System: accountSettings, queue.Operator: accountSystem,
	}
	if !maps.Equal(roles, want) {
		t.Errorf("roles have the accounts %v, want %v", roles, want)
	}
	known := strings.ReplaceAll(nats.Accounts, "$WRITEBACK_", "WRITEBACK_")
	if _, err := parse(known); err != nil {
		t.Fatal(err)
	}
	for before, after := range map[string]string{
		"publish: { allow:":       "publish: { deny:",
		"response_type: stream,":  "response_threshold: 1m,",
		"jetstream: enabled":      "jetstream: enabled, mappings: {a: b}",
		"system_account: SYS":     "system_account: CORP",
		"{ service: \"req.*\",":   "{ service: \"req.*\", account_token_position: 1,",
		"imports: [\n":            "imports: [ {}\n",
		"users: [\n      # Consu": "users: [ { nkey: two }\n # Consu",
	} {
		text := strings.Replace(known, before, after, 1)
		if text == known {
			t.Fatalf("accounts.conf does not hold %q", before)
		}
		if _, err := parse(text); err == nil {
			t.Errorf("accounts.conf with %q is understood", after)
		}
	}
}

// TestAdd: who may be what is the broker's test; this one is of wrong input.
func TestAdd(t *testing.T) {
	o := create(t)
	enough := Limits{Storage: 1 << 20, Connections: 1}
	if err := o.Add("corp", enough); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		do   func() error
		want string
	}{
		{"a name that is no token", func() error { return o.Add("a.b", enough) }, `tenant "a.b": a name has only`},
		{"no name", func() error { return o.Add("", enough) }, "1 to 24 characters"},
		{"twice", func() error { return o.Add("corp", enough) }, "tenant corp: is there already"},
		{"no storage", func() error { return o.Add("acme", Limits{Connections: 1}) }, "must be more than 0"},
		{"no connections", func() error { return o.Add("acme", Limits{Storage: 1}) }, "must be more than 0"},
		{"a user of nobody", credential(o, "acme", queue.Consumer, "u"), `tenant "acme": there is none`},
		{"a role of another kind", credential(o, "corp", queue.Publisher, "u"), `role "publisher": a user of a tenant is one of auditor, consumer, provisioner`},
		{"the operator's own role", credential(o, "", queue.Operator, "u"), `role "operator": a user that is of no tenant is one of publisher, system`},
		{"a user's bad name", credential(o, "corp", queue.Consumer, "U 1"), `user "U 1": a name has only`},
		{"a user", credential(o, "corp", queue.Consumer, "east"), ""},
		{"a user twice", credential(o, "corp", queue.Consumer, "east"), "user east: is there already; revoke it first"},
		{"the same name in another role", credential(o, "corp", queue.Auditor, "east"), ""},
		{"revoking nobody", func() error { return o.Revoke("corp", queue.Consumer, "west") }, `user "west": there is none`},
	}
	for _, tt := range tests {
		err := tt.do()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if got := o.Tenants(); !slices.Equal(got, []string{"corp"}) {
		t.Errorf("tenants are %q", got)
	}
}

func credential(o *Operator, tenant string, role queue.Role, user string) func() error {
	return func() error { _, err := o.Credential(tenant, role, user); return err }
}

// TestFile: what was made is there after the file was read again, and a file that
// others can read, or that lacks something, is refused in words that hold no key.
func TestFile(t *testing.T) {
	o := create(t)
	unfinished := o.path + ".new" // of a command that crashed
	if err := os.WriteFile(unfinished, []byte("half of it"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.Add("corp", Limits{Storage: 1 << 20, Connections: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unfinished); !os.IsNotExist(err) {
		t.Errorf("half a file is still there: %v", err)
	}
	if info, err := os.Stat(o.path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info.Mode(), err)
	}
	if _, err := o.Credential("corp", queue.Consumer, "east"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o.path); err == nil || !strings.Contains(err.Error(), "another command is using it") {
		t.Errorf("opening it twice: %v", err)
	}
	second := filepath.Join(filepath.Dir(o.path), "second.json")
	if _, err := Create(second); err == nil || !strings.Contains(err.Error(), "another command is using it") {
		t.Errorf("making another one beside it: %v", err)
	}
	if _, err := os.Stat(second); !os.IsNotExist(err) {
		t.Errorf("half a file is left: %v", err)
	}
	want, err := o.claims("corp", modelAccount)
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	again, err := Open(o.path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.claims("corp", modelAccount); err != nil || got.String() != want.String() {
		t.Errorf("read again, an account is %v (%v), want %v", got, err, want)
	}
	if got := again.Users("corp")[queue.Consumer]; !slices.Equal(got, []string{"east"}) {
		t.Errorf("read again, users are %q", got)
	}
	again.Close()
	if _, err := Create(o.path); err == nil {
		t.Error("a file that is there was made again")
	}

	text, err := os.ReadFile(o.path)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, before, after string
		mode                os.FileMode
		want                string
	}{
		{"others can read it", "", "", 0o644, "mode 0644"},
		{"the group can read it", "", "", 0o640, "mode 0640"},
		{"half of it", "\"tenants\"", "", 0o600, "is not what"},
		{"an unknown key", "\"tenants\"", "\"more\"", 0o600, "is not what"},
		{"another operator's seed", "\"operator\": \"SO", "\"operator\": \"SA", 0o600, "operator: is not the seed"},
		{"no tenants", "\"tenants\": {", "\"tenants\": null, \"told\": 0}{", 0o600, "tenants: is missing"},
		{"an empty tenant", "\"corp\": {", "\"more\": null, \"corp\": {", 0o600, "tenants.more: is empty"},
		{"no users", "\"users\": {}", "\"users\": null", 0o600, "lacks a key, or its users"},
		{"a missing key", "\"CORP_CONSUMERS\"", "\"CORP_OTHERS\"", 0o600, "tenants.corp: account CORP_CONSUMERS lacks a key"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "operator.json")
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), tt.before, tt.after, 1)), tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), o.state.Operator[2:]) {
			t.Errorf("%s: the error shows a key: %v", tt.name, err)
		}
	}
	if os.Geteuid() == 0 { // only root can make a file of somebody else
		if err := os.Chown(o.path, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o.path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("of another user: %v", err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.json")); !os.IsNotExist(err) && !strings.Contains(fmt.Sprint(err), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestClockBehind: the broker is told nothing that it may take for older than what
// it has.
func TestClockBehind(t *testing.T) {
	o := create(t)
	o.state.Told = time.Now().Add(time.Minute).Unix()
	_, err := o.tell(t.Context(), Broker{}, nil)
	if err == nil || !strings.Contains(err.Error(), "the clock of this machine is behind") {
		t.Errorf("got %v, want the clock named", err)
	}
}

// TestSameSecond: of two documents from one second, a server may believe either.
func TestSameSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := create(t)
		o.state.Told = time.Now().Unix()
		if err := o.awaitLater(t.Context()); err != nil || time.Now().Unix() <= o.state.Told {
			t.Errorf("it is %d (%v), and the broker was told something at %d", time.Now().Unix(), err, o.state.Told)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o.state.Told = time.Now().Unix()
		if err := o.awaitLater(ctx); err != context.Canceled {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// TestSigners: each account has one key that signs users, and what they may do is
// said by the account. The broker's own check finds nothing wrong with it.
func TestSigners(t *testing.T) {
	o := create(t)
	if err := o.Add("corp", Limits{Storage: 1 << 20, Connections: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range o.tenantAccounts() {
		c, err := o.claims("corp", name)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.SigningKeys) != 1 {
			t.Fatalf("%s has %d signing keys, want 1", name, len(c.SigningKeys))
		}
		for _, scope := range c.SigningKeys {
			s, ok := scope.(*jwt.UserScope)
			if !ok || len(s.Template.Pub.Allow) == 0 || len(s.Template.Sub.Allow) == 0 {
				t.Errorf("%s: its key signs users that may do anything", name)
			}
		}
		var vr jwt.ValidationResults
		if c.Validate(&vr); !vr.IsEmpty() {
			for _, issue := range vr.Issues {
				t.Errorf("%s: %s", name, issue.Description)
			}
		}
	}
}

// TestDocumentGrowth: the publishers' document names every tenant, and the broker
// takes 8 MB at once.
func TestDocumentGrowth(t *testing.T) {
	o := create(t)
	const many = 500
	for i := range many {
		accounts, err := o.newKeys(ofTenant)
		if err != nil {
			t.Fatal(err)
		}
		o.state.Tenants[fmt.Sprintf("tenant_with_a_name_%d", i)] = &tenant{Accounts: accounts}
	}
	list, err := o.documents("", accountPublishers)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for each of %d tenants", len(list[0])/many, many)
	if room := 8 << 20 / (len(list[0]) / many); room < 2000 {
		t.Errorf("there is room for %d tenants, want 2000", room)
	}
}
