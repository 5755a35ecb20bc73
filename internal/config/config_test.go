package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

type broker struct {
	URL    string `yaml:"url"`
	CAFile string `yaml:"ca_file"`
}

type settings struct {
	Name    string        `yaml:"name"`
	Count   int           `yaml:"count"`
	On      bool          `yaml:"on"`
	Wait    time.Duration `yaml:"wait"`
	Until   time.Time     `yaml:"until"`
	KeyFile string        `yaml:"key_file"`
	DataDir string        `yaml:"data_dir"`
	Profile string        `yaml:"profile"` // ends like a path, is none
	Broker  broker        `yaml:"broker"`
	Brokers []broker      `yaml:"brokers"`
	Spare   *broker       `yaml:"spare"`
	Spares  []*broker     `yaml:"spares"`
	Files   []string      `yaml:"files"`
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	path := write(t, `
name: corp
count: 3
on: true
wait: 1m30s
until: 2026-11-05T12:00:00Z
profile: a/b
key_file: keys/slot.key
data_dir: ../data
broker: {url: "nats://localhost", ca_file: ca.pem}
brokers: [{ca_file: one.pem}, {ca_file: /etc/two.pem}, {}]
spare: {ca_file: spare.pem}
spares: [{ca_file: ./third.pem}]
files: [relative]
`)
	var v settings
	if err := Load(path, &v); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for _, tt := range []struct {
		key       string
		got, want any
	}{
		{"name", v.Name, "corp"},
		{"count", v.Count, 3},
		{"on", v.On, true},
		{"wait", v.Wait, 90 * time.Second},
		{"until", v.Until, time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)},
		{"profile", v.Profile, "a/b"},
		{"key_file", v.KeyFile, filepath.Join(dir, "keys/slot.key")},
		{"data_dir", v.DataDir, filepath.Join(filepath.Dir(dir), "data")},
		{"broker.url", v.Broker.URL, "nats://localhost"},
		{"broker.ca_file", v.Broker.CAFile, filepath.Join(dir, "ca.pem")},
		{"brokers[0].ca_file", v.Brokers[0].CAFile, filepath.Join(dir, "one.pem")},
		{"brokers[1].ca_file", v.Brokers[1].CAFile, "/etc/two.pem"},
		{"brokers[2].ca_file", v.Brokers[2].CAFile, ""},
		{"spare.ca_file", v.Spare.CAFile, filepath.Join(dir, "spare.pem")},
		{"spares[0].ca_file", v.Spares[0].CAFile, filepath.Join(dir, "third.pem")},
		{"files[0]", v.Files[0], "relative"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %v, want %v", tt.key, tt.got, tt.want)
		}
	}
}

// A path is relative to the file, not to where the program was started.
func TestLoadByRelativePath(t *testing.T) {
	path := write(t, "key_file: slot.key\n")
	t.Chdir(filepath.Dir(filepath.Dir(path)))
	var v settings
	if err := Load(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path)), &v); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(path), "slot.key"); v.KeyFile != want {
		t.Errorf("key_file is %s, want %s", v.KeyFile, want)
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // in the error
	}{
		{"empty", "", []string{"is empty"}},
		{"only a comment", "# name: corp\n", []string{"is empty"}},
		{"unknown key", "name: corp\nnmae: corp\n", []string{"line 2", `no key "nmae"`}},
		{"unknown key below", "broker:\n  url: x\n  cafile: x\n", []string{"line 3", `no key "cafile"`}},
		{"unknown key in a list", "brokers:\n- url: x\n- urls: x\n", []string{"line 3", `no key "urls"`}},
		{"key in capitals", "Name: corp\n", []string{`no key "Name"`}},
		{"two unknown keys", "a: 1\nb: 1\n", []string{`no key "a"`, `no key "b"`, "; "}},
		{"one key twice", "name: a\nname: b\n", []string{"line 2", "name"}},
		{"one key twice below", "broker:\n  url: a\n  url: b\n", []string{"line 3", "url"}},
		{"two documents", "name: a\n---\nname: b\n", []string{"more than one YAML document"}},
		{"a second document that is empty", "name: a\n---\n", []string{"more than one YAML document"}},
		{"a second document that is malformed", "name: a\n---\n{", []string{"more than one YAML document"}},
		{"text for a number", "count: many\n", []string{"line 1: cannot unmarshal `many` into a whole number"}},
		{"number beyond int", "count: 99999999999999999999\n", []string{"line 1"}},
		{"text that speaks of types", "count: a into b\n", []string{"line 1: cannot unmarshal `a into b` into a whole number"}},
		{"text for a switch", "on: perhaps\n", []string{"line 1: cannot unmarshal `perhaps` into true or false"}},
		{"number for a duration", "wait: 10\n", []string{"line 1: cannot unmarshal `10` into a duration such as 10s"}},
		{"duration without a unit", "wait: '10'\n", []string{"line 1", "10"}},
		{"text for a time", "until: tomorrow\n", []string{`"tomorrow" is not a time`}},
		{"list for a text", "name: [a]\n", []string{"line 1: cannot unmarshal a list into a text"}},
		{"text for a section", "broker: x\n", []string{"line 1: cannot unmarshal `x` into a section"}},
		{"section for a list", "brokers: {url: x}\n", []string{"line 1: cannot unmarshal a section into a list"}},
		{"a list at the top", "- a\n", []string{"line 1"}},
		{"a text at the top", "hello\n", []string{"line 1"}},
		{"not YAML", "name: [\n", []string{"line"}},
		{"tabulator", "broker:\n\turl: x\n", []string{"line"}},
		{"unknown anchor", "name: *x\n", []string{"x"}},
		{"not UTF-8", "name: \xff\n", []string{"UTF-8"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v settings
			path := write(t, tt.text)
			err := Load(path, &v)
			if err == nil {
				t.Fatalf("is taken as %+v", v)
			}
			text, ok := strings.CutPrefix(err.Error(), path+": ")
			if !ok {
				t.Errorf("the error does not begin with the file: %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("the error is %q, want %q in it", text, want)
				}
			}
			for _, word := range []string{"config.", "time.", "struct", "[]", " type ", "!!", "yaml:", "\n"} {
				if strings.Contains(text, word) {
					t.Errorf("the error is %q, which speaks Go", text)
				}
			}
		})
	}
}

func TestSize(t *testing.T) {
	const line = "name: corp\n"
	fits := line + "#" + strings.Repeat("x", maxSize-len(line)-1)
	var v settings
	if err := Load(write(t, fits), &v); err != nil || v.Name != "corp" {
		t.Errorf("a file of 1 MiB: %v", err)
	}
	if err := Load(write(t, fits+"x"), &v); err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a file of more than 1 MiB gives error %v", err)
	}
	if maxSize != 1<<20 {
		t.Errorf("the limit is %d", maxSize)
	}
}

func TestMissingFile(t *testing.T) {
	var v settings
	if err := Load(filepath.Join(t.TempDir(), "none.yaml"), &v); !os.IsNotExist(err) {
		t.Errorf("a missing file gives error %v", err)
	}
	if err := Load(t.TempDir(), &v); err == nil {
		t.Error("a directory is read")
	}
}

func TestReadTrusted(t *testing.T) {
	full := strings.Repeat("x", maxSize)
	tests := []struct {
		name string
		make func(path string) error
		want string // in the error; none if empty
	}{
		{"a file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) }, ""},
		{"an empty one", func(path string) error { return os.WriteFile(path, nil, 0o600) }, ""},
		{"of 1 MiB", func(path string) error { return os.WriteFile(path, []byte(full), 0o600) }, ""},
		{"of more", func(path string) error { return os.WriteFile(path, []byte(full+"x"), 0o600) }, "1048576"},
		{"the group may write it", func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o620)) }, "0620"},
		{"others may write it", func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o602)) }, "0602"},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		{"a pipe that nobody writes", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		{"nothing", func(string) error { return nil }, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy.yaml")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			b, err := ReadTrusted(path)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%d bytes, %v; want %q in the error", len(b), err, tt.want)
			}
			if info, e := os.Stat(path); tt.want == "" && (e != nil || int64(len(b)) != info.Size()) {
				t.Errorf("%d bytes were read", len(b))
			}
		})
	}
}
