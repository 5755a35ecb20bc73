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
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// canaryMark begins every canary, and is nowhere else.
const canaryMark = "c4nary-Xy\"&/"

// newCanary returns a password that satisfies the policy, and that JSON and URLs
// must escape.
func newCanary() string { return canaryMark + rand.Text()[:16] }

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
		// As Go prints bytes, and as its stack traces print arguments and registers.
		found["decimal"+form] = bytes.Trim(fmt.Append(nil, raw), "[]")
		found["hex with spaces"+form] = fmt.Appendf(nil, "% x", raw)
		found["Go syntax"+form] = bytes.TrimSuffix(bytes.TrimPrefix(fmt.Appendf(nil, "%#v", raw), []byte("[]byte{")), []byte("}"))
		for at := range len(raw) - 7 {
			found[fmt.Sprintf("word%s at %d", form, at)] = strconv.AppendUint(nil, binary.LittleEndian.Uint64(raw[at:]), 16)
		}
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
		"gofmt": fmt.Appendf(nil, "%q", password), "bytes": fmt.Append(nil, []byte(password)), "wide": fmt.Append(nil, le),
		"spaced": fmt.Appendf(nil, "% x", le), "syntax": fmt.Appendf(nil, "%#v", []byte(password)),
		"trace": fmt.Appendf(nil, "main.f({0x%x, 0x%x})", binary.LittleEndian.Uint64([]byte(password)[3:]), binary.LittleEndian.Uint64(le[6:])),
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
	if hits := search(t, encodings("n0t-there-"+rand.Text()[:16]), nil, nil, dir); len(hits) != 0 {
		t.Errorf("the search finds what is not there: %q", hits)
	}
	if hits := search(t, encodings(password), nil, []string{dir}, dir); len(hits) != 0 {
		t.Errorf("the search looks into what is to be skipped: %q", hits)
	}
}
