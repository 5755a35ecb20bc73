package main

import (
	"archive/zip"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestZip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "writeback")
	at := time.Unix(1795344000, 0).UTC()
	files := []file{{"bin/consumer.exe", 0o755, []byte("program")}, {"docs/a.md", 0o644, []byte("page")}}
	if err := archive(name, files, at, platform{os: "windows"}); err != nil {
		t.Fatal(err)
	}
	r, err := zipEntries(name + ".zip")
	if want := "writeback/bin/consumer.exe -rwxr-xr-x 2026-11-22T10:40:00Z program\nwriteback/docs/a.md -rw-r--r-- 2026-11-22T10:40:00Z page\n"; err != nil || r != want {
		t.Errorf("it holds\n%s%v, want\n%s", r, err, want)
	}
}

// zipEntries prints what a ZIP file holds.
func zipEntries(name string) (string, error) {
	r, err := zip.OpenReader(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var text strings.Builder
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(in)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s %s %s %s\n", f.Name, f.Mode(), f.Modified.UTC().Format(time.RFC3339), b)
	}
	return text.String(), nil
}
