package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// root is the directory of the sources.
const root = "../.."

// checkout copies the sources as they are here into a directory of that name.
func checkout(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		} else if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func from(dir string) sources {
	return sources{root: dir, version: "v1.2.3", commit: strings.Repeat("c0ffee", 6), time: time.Unix(1795344000, 0).UTC()}
}

// here is this machine's platform, with one program for each way in which one is
// packed.
func here(p platform) platform {
	p.arch, p.programs = runtime.GOARCH, []string{"consumer"}
	return p
}

// Two checkouts elsewhere, at another time, under another name, give the same bytes.
func TestReproducible(t *testing.T) {
	made := make([]string, 2)
	for i, name := range []string{"one", "another checkout"} {
		made[i] = t.TempDir()
		if err := release(t.Context(), from(checkout(t, name)), here(platform{os: "linux", debian: true}), made[i]); err != nil {
			t.Fatal(err)
		}
		if err := checksums(made[i]); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(made[0])
	if err != nil || len(names) != 4 {
		t.Fatalf("%d files, %v; want an archive, a package, what is in the program, and checksums", len(names), err)
	}
	for _, e := range names {
		one, err := os.ReadFile(filepath.Join(made[0], e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if other, err := os.ReadFile(filepath.Join(made[1], e.Name())); err != nil || !bytes.Equal(one, other) {
			t.Errorf("%s differs, %v", e.Name(), err)
		}
	}
	archive := filepath.Join(made[0], "writeback_1.2.3_linux_"+runtime.GOARCH+".tar.gz")
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = made[0]
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	unpacked := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", archive, "--strip-components=1", "-C", unpacked).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	out, err := exec.Command(filepath.Join(unpacked, "bin", "consumer"), "-version").Output()
	if want := "consumer v1.2.3 (commit c0ffeec0ffee"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("it says %q, %v; want %q", out, err, want)
	}
	for _, name := range []string{"LICENSE", "CHANGELOG.md", "docs/operations.md", "nats/nats-server.conf", "systemd/writeback-publisher.service", "examples/consumer.yaml"} {
		if b, err := os.ReadFile(filepath.Join(unpacked, name)); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	licences, err := os.ReadFile(filepath.Join(unpacked, "THIRD-PARTY-LICENSES.txt"))
	if err != nil || !bytes.Contains(licences, []byte("github.com/go-ldap/ldap/v3 v3.")) || !bytes.Contains(licences, []byte("Permission is hereby granted")) {
		t.Errorf("the licences of others are %d bytes, %v", len(licences), err)
	}
	checkSBOM(t, filepath.Join(unpacked, "sbom", "consumer.cdx.json"))
}

// checkSBOM compares a list with what Go says of the program.
func checkSBOM(t *testing.T, path string) {
	t.Helper()
	var bom struct {
		BOMFormat  string
		Components []struct {
			PURL     string
			Licenses []struct{ License struct{ ID string } }
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &bom); err != nil || bom.BOMFormat != "CycloneDX" {
		t.Fatalf("the format is %q, %v", bom.BOMFormat, err)
	}
	listed := make(map[string]bool)
	for _, c := range bom.Components {
		if listed[c.PURL] = true; len(c.Licenses) == 0 || c.Licenses[0].License.ID == "" {
			t.Errorf("%s has no licence", c.PURL)
		}
	}
	program := filepath.Join(filepath.Dir(path), "..", "bin", "consumer")
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := 1 // Go's own library
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			linked++
			if purl := "pkg:golang/" + f[1] + "@" + f[2]; !listed[purl] {
				t.Errorf("%s is not listed", purl)
			}
		}
	}
	if linked < 10 || len(listed) != linked {
		t.Errorf("%d are listed, %d are linked", len(listed), linked)
	}
}

// What comes later is later for dpkg too.
func TestDebianVersion(t *testing.T) {
	at := func(version string, hours int) sources {
		return sources{version: version, time: time.Unix(1795344000, 0).Add(time.Duration(hours) * time.Hour).UTC()}
	}
	inOrder := []sources{
		at("ffffffffffff", 0), at("000000000000", 1), at("v0.1.0", 2), at("v0.1.0-9-g111111111111", 3), at("v0.1.0-10-g000000000000", 4), at("v0.2.0", 5), at("v0.10.0", 6),
	}
	for i, s := range inOrder[1:] {
		before, after := debianVersion(inOrder[i]), debianVersion(s)
		if out, err := exec.Command("dpkg", "--compare-versions", before, "lt", after).CombinedOutput(); err != nil {
			t.Errorf("%s is not before %s: %v %s", before, after, err, out)
		}
	}
}

func TestIdentify(t *testing.T) {
	for want, text := range map[string]string{
		"":               "All rights reserved.",
		"MIT":            "Permission is hereby granted, free of\ncharge, to any person",
		"Apache-2.0":     "   Apache License\n      Version 2.0, January 2004",
		"BSD-2-Clause":   "Redistribution and use in source and binary forms, with or without",
		"BSD-3-Clause":   "Redistribution and use in source and binary forms, with or without ... Neither the name of",
		"Apache-2.0 MIT": "Permission is hereby granted, free of charge ... Apache License Version 2.0",
	} {
		if got := strings.Join(identify(text), " "); got != want {
			t.Errorf("identify(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestAsk(t *testing.T) {
	s := sources{root: root}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if err := s.ask(t.Context()); err != nil || len(s.commit) != 40 || s.version == "" || s.time.Before(time.Unix(1.7e9, 0)) {
		t.Errorf("of these sources git says %+v, %v", s, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1795344000")
	if err := s.ask(t.Context()); err != nil || s.time.Unix() != 1795344000 {
		t.Errorf("the time is %s, %v", s.time, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if s.ask(t.Context()) == nil {
		t.Error("a time that is none is taken")
	}
	if (&sources{root: t.TempDir()}).ask(t.Context()) == nil {
		t.Error("sources without git are taken")
	}
}
