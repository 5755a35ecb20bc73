package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// newCanary returns a password that satisfies the policy, that JSON and URLs
// must escape, and that is nowhere else.
func newCanary() string { return "c4nary-Xy\"&/" + rand.Text()[:16] }

// utf16Bytes returns the UTF-16 form of s.
func utf16Bytes(s string, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// encodings returns what a password looks like to somebody who searches for it,
// by name.
func encodings(password string) map[string][]byte {
	le, be := utf16Bytes(password, binary.LittleEndian), utf16Bytes(password, binary.BigEndian)
	quoted, _ := json.Marshal(password)
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	enc.Encode(password)
	var units string
	for _, u := range utf16.Encode([]rune(password)) {
		units += fmt.Sprintf(`\u%04x`, u)
	}
	found := map[string][]byte{
		"raw":               []byte(password),
		"UTF-16LE":          le,
		"UTF-16BE":          be,
		"hex":               []byte(hex.EncodeToString([]byte(password))),
		"HEX":               []byte(strings.ToUpper(hex.EncodeToString([]byte(password)))),
		"hex of UTF-16LE":   []byte(hex.EncodeToString(le)),
		"HEX of UTF-16LE":   []byte(strings.ToUpper(hex.EncodeToString(le))),
		"JSON":              bytes.Trim(quoted, `"`),
		"JSON without HTML": bytes.Trim(bytes.TrimSpace(plain.Bytes()), `"`),
		"JSON units":        []byte(units),
		"URL query":         []byte(url.QueryEscape(password)),
		"URL path":          []byte((&url.URL{Path: password}).EscapedPath()),
		"URL path segment":  []byte(url.PathEscape(password)),
	}
	for form, raw := range map[string][]byte{"": []byte(password), " of UTF-16LE": le} {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			for shift := range 3 {
				found[fmt.Sprintf("%s%s at %d", name, form, shift)] = inBase64(encoding, raw, shift)
			}
		}
	}
	return found
}

// inBase64 returns the characters that raw alone determines when it stands shift
// bytes after a multiple of three in what is encoded.
func inBase64(encoding *base64.Encoding, raw []byte, shift int) []byte {
	text := encoding.EncodeToString(append(make([]byte, shift), raw...))
	from := (shift*8 + 5) / 6        // the first character without a bit of what is before
	to := (shift + len(raw)) * 8 / 6 // the last one without a bit of what comes after
	return []byte(text[from:to])
}

// search returns where one of needles is: below the directories, but in the
// skipped ones, and in the other texts.
func search(t testing.TB, needles map[string][]byte, texts map[string]string, skip []string, dirs ...string) []string {
	t.Helper()
	var hits []string
	look := func(where string, text []byte) {
		for name, needle := range needles {
			if bytes.Contains(text, needle) {
				hits = append(hits, where+": "+name)
			}
		}
	}
	for where, text := range texts {
		look(where, []byte(text))
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			look("the name "+path, []byte(d.Name()))
			for _, s := range skip {
				if path == s {
					return fs.SkipDir
				}
			}
			if !d.Type().IsRegular() {
				return nil
			}
			text, err := os.ReadFile(path)
			look(path, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hits
}

// TestCanary sends passwords through the whole system in every way and then
// looks for them wherever something could have been left.
func TestCanary(t *testing.T) {
	for _, directory := range []string{"fake", "samba"} {
		t.Run(directory, func(t *testing.T) { canary(t, directory) })
	}
}

func canary(t *testing.T, directory string) {
	l := startClear(t, directory)
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
	for name, form := range map[string]string{
		"with NUL":              `{"account":{"upn":%q},"password":"%s\u0000"}`,
		"over 256 units":        `{"account":{"upn":%q},"password":"` + strings.Repeat("x", 256) + `%s"}`,
		"a lone surrogate":      `{"account":{"upn":%q},"password":"%s\ud800"}`,
		"an unknown field":      `{"account":{"upn":%q},"pasword":"%s"}`,
		"cut":                   `{"account":{"upn":%q},"password":"%s`,
		"in the wrong place":    `{"account":{"upn":%q},"password":{"%s":1}}`,
		"a name of a field":     `{"account":{"upn":%q},"%s":""}`,
		"not allowed by itself": `{"account":{"upn":%q,"sid":"x"},"password":"%s"}`,
	} {
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

// The search finds a canary in each encoding, at every alignment and in the
// middle of something else: else TestCanary would prove nothing.
func TestCanarySearch(t *testing.T) {
	dir, password := t.TempDir(), newCanary()
	le := utf16Bytes(password, binary.LittleEndian)
	quoted, _ := json.Marshal(password)
	planted := map[string][]byte{
		"raw": []byte(password), "le": le, "be": utf16Bytes(password, binary.BigEndian),
		"hex": fmt.Appendf(nil, "%x", password), "HEX": fmt.Appendf(nil, "%X", password),
		"hexle": fmt.Appendf(nil, "%x", le), "HEXLE": fmt.Appendf(nil, "%X", le),
		"json": quoted, "form": []byte(url.Values{"p": {password}}.Encode()), "path": []byte((&url.URL{Path: "/" + password}).EscapedPath()),
		"gofmt": fmt.Appendf(nil, "%q", password),
	}
	for shift := range 3 {
		for form, raw := range map[string][]byte{"": []byte(password), "le": le} {
			text := bytes.Join([][]byte{[]byte("12345"[:shift+2]), raw, []byte("after")}, nil)
			planted[fmt.Sprint("std", form, shift)] = []byte(base64.StdEncoding.EncodeToString(text))
			planted[fmt.Sprint("url", form, shift)] = []byte(base64.URLEncoding.EncodeToString(text))
		}
	}
	for name, text := range planted {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Join([][]byte{[]byte("\x00before "), text, []byte(" after\n")}, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hits := strings.Join(search(t, encodings(password), nil, nil, dir), "\n")
	for name := range planted {
		if !strings.Contains(hits, filepath.Join(dir, name)+": ") {
			t.Errorf("the search does not find what is planted as %s: %q", name, planted[name])
		}
	}
	if hits := search(t, encodings(newCanary()), nil, nil, dir); len(hits) != 0 {
		t.Errorf("the search finds what is not there: %q", hits)
	}
	if hits := search(t, encodings(password), nil, []string{dir}, dir); len(hits) != 0 {
		t.Errorf("the search looks into what is to be skipped: %q", hits)
	}
}
