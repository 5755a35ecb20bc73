package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCanary sends passwords through the whole system in every way and then
// looks for them wherever something could have been left.
func TestCanary(t *testing.T) {
	for _, directory := range []string{"fake", "samba"} {
		t.Run(directory, func(t *testing.T) { canary(t, directory) })
	}
}

func canary(t *testing.T, directory string) {
	l := startLab(t, directory)
	e, users := l.endpoints(t), l.Directory.Users
	texts := make(map[string]string) // what was said to callers
	var passwords []string
	next := func() string {
		passwords = append(passwords, newCanary())
		return passwords[len(passwords)-1]
	}

	// Applied, refused by the directory's policy, refused because there is no
	// such account, and refused by the API.
	applied := wantApplied(t, e, "upn", users[1].UPN, next(), "Idempotency-Key: canary")
	texts["applied"] = applied.Body
	for name, call := range map[string][2]string{
		"in the history": {users[1].UPN, passwords[0]},
		"no account":     {"nobody@corp.example.com", next()},
	} {
		r, err := e.post(t.Context(), "upn", call[0], call[1])
		if err != nil || r.Code == "applied" || !r.Final {
			t.Errorf("%s: %v %s", name, err, r.Body)
		}
		texts[name] = r.Body
	}
	for name, form := range malformed() {
		password, _ := json.Marshal(next())
		body := fmt.Sprintf(form, users[2].UPN, bytes.Trim(password, `"`))
		r, err := e.do(t.Context(), "POST", "/v1/resets", strings.NewReader(body))
		if err != nil || r.Status < 400 && name != "with NUL" {
			t.Errorf("%s: %v %s", name, err, r.Body)
		}
		texts[name] = r.Body
	}
	token := filepath.Join(l.Dir, "send-token")
	if err := os.WriteFile(token, []byte(l.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, account := range map[string]string{"send": users[3].UPN, "send to nobody": "nobody@corp.example.com"} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(binaries(t), "publisher"),
			"send", "-api", l.APIURL, "-token-file", token, "-upn", account)
		cmd.Stdin = strings.NewReader(next() + "\n")
		out, err := cmd.CombinedOutput()
		if (err == nil) != (name == "send") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		texts[name] = string(out)
	}
	// The page: set, refused by the directory, and by the page itself.
	for name, form := range map[string]url.Values{
		"page": {}, "page, refused by policy": {"password": {passwords[0]}}, "page, not the same": {"again": {next()}},
		"page, too long": {"password": {strings.Repeat(next(), 20)}}, "page, in the wrong field": {"operation": {next()}},
	} {
		user := users[4]
		if name == "page, refused by policy" {
			user = users[1]
		}
		if !form.Has("password") {
			form.Set("password", next())
		}
		if !form.Has("again") {
			form.Set("again", form.Get("password"))
		}
		texts[name] = e.page(t, user.UPN, form)
	}
	if !strings.Contains(texts["page"], set) || !strings.Contains(texts["page, refused by policy"], "Try another password") {
		t.Errorf("the page answers %s", texts["page"])
	}
	for name, url := range operations(t, l.Dir, 2) {
		texts["metrics of "+name] = metrics(t, url)
	}

	// The one place that holds passwords by right: the domain's database.
	skip := []string{filepath.Join(l.Dir, "samba", "private")}
	needles := make(map[string][]byte)
	for i, password := range passwords {
		for name, needle := range encodings(password) {
			needles[fmt.Sprintf("password %d as %s", i, name)] = needle
		}
	}
	for _, hit := range search(t, needles, texts, skip, l.Dir, l.runtime) {
		t.Errorf("while it runs: %s", hit)
	}

	// The search sees what is there: ids of requests in the broker's store and
	// in all logs, sealing keys in the memory file system.
	id := applied.ID[strings.LastIndex(applied.ID, "-")+1:]
	for place, dir := range map[string]string{"the broker's store": l.Broker.StoreDir, "the logs": l.path("logs")} {
		if len(search(t, map[string][]byte{"id": []byte(id)}, nil, nil, dir)) == 0 {
			t.Errorf("the search does not find a request's id in %s", place)
		}
	}
	if len(search(t, map[string][]byte{"box": []byte("box-")}, nil, nil, l.runtime)) == 0 {
		t.Error("the search does not find the sealing keys")
	}

	l.Close()
	for _, hit := range search(t, needles, nil, skip, l.Dir) {
		t.Errorf("after the end: %s", hit)
	}
	if _, err := os.Stat(l.runtime); !os.IsNotExist(err) {
		t.Errorf("the memory file system still holds %s: %v", l.runtime, err)
	}
}

// malformed are bodies that are not taken, or that only a consumer can tell from
// good ones: forms for an account's name and a password, as JSON without quotes.
func malformed() map[string]string {
	return map[string]string{
		"with NUL":              `{"account":{"upn":%q},"password":"%s\u0000"}`,
		"over 256 units":        `{"account":{"upn":%q},"password":"` + strings.Repeat("x", 256) + `%s"}`,
		"a lone surrogate":      `{"account":{"upn":%q},"password":"%s\ud800"}`,
		"an unknown field":      `{"account":{"upn":%q},"pasword":"%s"}`,
		"cut":                   `{"account":{"upn":%q},"password":"%s`,
		"in the wrong place":    `{"account":{"upn":%q},"password":{"%s":1}}`,
		"a name of a field":     `{"account":{"upn":%q},"%s":""}`,
		"not allowed by itself": `{"account":{"upn":%q,"sid":"x"},"password":"%s"}`,
	}
}
