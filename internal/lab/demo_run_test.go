package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// keysOf returns the keys of JSON objects, those of what they hold after a dot.
// Of a list, the first element stands for all.
func keysOf(v any, prefix string) []string {
	switch v := v.(type) {
	case map[string]any:
		var keys []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			keys = append(keys, keysOf(v[k], strings.TrimPrefix(prefix+"."+k, "."))...)
		}
		return keys
	case []any:
		return keysOf(v[0], prefix+"[]")
	}
	return []string{prefix}
}

// TestDemo runs the demo until it is interrupted, as scripts use it.
func TestDemo(t *testing.T) {
	d := startDemo(t, "-directory", "samba")
	d.says(t, `^Ctrl-C ends everything\.$`)
	e := readEndpoints(t, d.endpoints)

	t.Run("endpoints", func(t *testing.T) { testEndpoints(t, d, e) })
	t.Run("names", func(t *testing.T) {
		for i, name := range kindsOf(e.Users[2]) {
			wantApplied(t, e, name.key, name.value, fmt.Sprintf("Named-Word-%d", i))
		}
	})
	for i, name := range []string{"consumer1", "nats", "publisher", "samba"} {
		t.Run(name+" is killed", func(t *testing.T) { d.testKill(t, name, e.Users[3+i]) })
	}
	t.Run("interrupted", func(t *testing.T) {
		all, inMemory := family(t, d.cmd.Process.Pid), d.runtimeDir(t)
		if len(all) < 10 { // ours, nats-server, and Samba's many
			t.Errorf("the demo has the processes %v only", all)
		}
		if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if status := d.wait(t); status != 0 {
			t.Errorf("exit status %d", status)
		}
		t.Logf("%d processes ended in %s", len(all), time.Since(begun))
		wantGone(t, all)
		d.wantNothingLeft(t, inMemory)
	})
}

func testEndpoints(t *testing.T, d *demo, e *Endpoints) {
	text, err := os.ReadFile(d.endpoints)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"api_token", "api_url",
		"directory.admin_dn", "directory.admin_password", "directory.base_dn", "directory.ca", "directory.kind", "directory.url",
		"nats.admin_creds", "nats.ca", "nats.store_dir", "nats.url", "portal_url",
		"processes[].log", "processes[].name", "processes[].pid",
		"users[].immutable_id", "users[].object_guid", "users[].password", "users[].sam_account_name", "users[].upn",
	}
	if got := keysOf(object, ""); !slices.Equal(got, want) {
		t.Errorf("the endpoints file has the keys\n%q, want\n%q", got, want)
	}
	if info, err := os.Stat(d.endpoints); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the endpoints file, which holds passwords, has mode %v, %v", info.Mode(), err)
	}
	if len(e.Users) < 20 {
		t.Errorf("%d users, want 20 at least", len(e.Users))
	}
	if e.PortalURL != e.APIURL || e.Directory.Kind != "samba" {
		t.Errorf("portal_url %q and directory.kind %q", e.PortalURL, e.Directory.Kind)
	}
	var names []string
	for _, p := range e.Processes {
		names = append(names, p.Name)
		if _, err := os.Stat(p.Log); err != nil || !alive(p.PID) {
			t.Errorf("%s: process %d alive=%t, log %v", p.Name, p.PID, alive(p.PID), err)
		}
	}
	slices.Sort(names)
	if want := []string{"consumer1", "consumer2", "nats", "publisher", "samba"}; !slices.Equal(names, want) {
		t.Errorf("processes %q, want %q", names, want)
	}
	// The credentials work: the administrators', and the users' passwords,
	// also the one that the samples have set.
	if _, err := inspect(t, e).counts(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(e.NATS.StoreDir); err != nil {
		t.Error(err)
	}
	dir := testkit.Directory{URL: e.Directory.URL, CAFile: e.Directory.CA}
	binds := map[string]string{e.Directory.AdminDN: e.Directory.AdminPassword}
	for _, u := range e.Users[:2] {
		binds[u.UPN] = u.Password
	}
	for name, password := range binds {
		conn, err := samba.Bind(dir, name, password)
		if err != nil {
			t.Error(err)
			continue
		}
		conn.Close()
	}
	// What is printed for a human can be pasted.
	curl := regexp.MustCompile(`curl -sS (\S+)/v1/resets \\\n +-H 'Authorization: Bearer (\S+)'`).FindStringSubmatch(d.out.String())
	if curl == nil || curl[1] != e.APIURL || curl[2] != e.APIToken {
		t.Errorf("the printed curl line has %q, want %s and the token", curl, e.APIURL)
	}
	for page, want := range map[string]int{`/reset\?t=\S+`: http.StatusOK, "/admin": http.StatusUnauthorized} {
		path := regexp.MustCompile(e.PortalURL + page).FindString(d.out.String())
		if path == "" {
			t.Errorf("no address of %s is printed", page)
			continue
		}
		if status, text := browse(t, path); status != want || !strings.Contains(text, "<form") {
			t.Errorf("%s: %d\n%s", page, status, text)
		}
	}
}

// browse opens a page as a browser without scripts does, and returns what it shows.
func browse(t *testing.T, address string) (status int, text string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Jar: secure{jar}}).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// secure is a jar that keeps secure cookies on loopback too, as browsers do.
type secure struct{ http.CookieJar }

func (s secure) Cookies(u *url.URL) []*http.Cookie {
	https := *u
	https.Scheme = "https"
	return s.CookieJar.Cookies(&https)
}

// testKill kills one process of the demo: it is started again, that is said and
// written to the file, and a reset works afterwards.
func (d *demo) testKill(t *testing.T, name string, user userEndpoint) {
	begun := time.Now()
	before := readEndpoints(t, d.endpoints)
	pid := before.pid(t, name)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.says(t, fmt.Sprintf(`^  %s +pid %d died: .*killed$`, name, pid))
	d.says(t, fmt.Sprintf(`^  %s +started again as pid \d+$`, name))
	var now *Endpoints
	await(t, "waiting for the new process in the file", func() error {
		now = readEndpoints(t, d.endpoints)
		if now.pid(t, name) == pid {
			return fmt.Errorf("the file still has process %d", pid)
		}
		return nil
	})
	again := now.pid(t, name)
	if !alive(again) || alive(pid) {
		t.Errorf("process %d alive=%t, the new one %d alive=%t", pid, alive(pid), again, alive(again))
	}
	restarted := time.Since(begun)
	for _, p := range before.Processes {
		if p.Name != name && now.pid(t, p.Name) != p.PID {
			t.Errorf("%s was killed, and %s has another process now", name, p.Name)
		}
	}
	refusals := 0
	await(t, "resetting a password afterwards", func() error {
		r, err := now.post(t.Context(), "upn", user.UPN, "After-Kill-7", "Idempotency-Key: after "+name)
		if err == nil && r.Status != http.StatusOK {
			err = fmt.Errorf("%s", r.Body)
		}
		if err != nil {
			refusals++
			if r.Status != 0 && r.Status != http.StatusServiceUnavailable {
				t.Fatalf("a reset was neither applied nor refused for now: %v", err)
			}
		}
		return err
	})
	t.Logf("started again after %s, a reset is applied after %s (%d refusals for now)", restarted, time.Since(begun), refusals)
}

// A demo that is killed takes everything with it, by the kernel's hand.
func TestDemoKilled(t *testing.T) {
	d := startDemo(t, "-directory", "samba")
	d.says(t, `^Ctrl-C ends everything\.$`)
	all, inMemory := family(t, d.cmd.Process.Pid), d.runtimeDir(t)
	t.Cleanup(func() { os.RemoveAll(inMemory) }) // nobody is left to do it
	if len(all) < 10 {
		t.Errorf("the demo has the processes %v only", all)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, all)
}
