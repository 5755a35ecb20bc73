package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"writeback/internal/testkit"
)

// A service is what compose.yaml says of one, as far as it takes something away.
type service struct {
	Build       struct{ Target string }
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	CapAdd      []string `yaml:"cap_add"`
	Privileged  bool
	User        string
	SecurityOpt []string       `yaml:"security_opt"`
	Ulimits     map[string]int `yaml:"ulimits"`
	Memory      string         `yaml:"mem_limit"`
	WithSwap    string         `yaml:"memswap_limit"`
	Processes   int            `yaml:"pids_limit"`
	Tmpfs       []string
}

// weak returns what a container has that it does not need. Only the domain controller
// is root, and has rights of root.
func (s service) weak(passwords bool) (why []string) {
	for _, rule := range []struct {
		broken bool
		text   string
	}{
		{!s.ReadOnly, "its root file system can be written"},
		{!slices.Equal(s.CapDrop, []string{"ALL"}), "it keeps capabilities"},
		{len(s.CapAdd) > 0 && s.Build.Target != "domain", "it is given capabilities"},
		{s.Privileged || s.User != "", "it is privileged, or another user than the image's"},
		{!slices.Contains(s.SecurityOpt, "no-new-privileges:true"), "it can get new privileges"},
		{!zero(s.Ulimits, "core"), "it can write core dumps"},
		{passwords && (s.Memory == "" || s.Memory != s.WithSwap), "its memory has no limit, or can be swapped out"},
		{passwords && s.Processes == 0, "it can have any number of threads"},
		{slices.ContainsFunc(s.Tmpfs, func(dir string) bool {
			return strings.HasPrefix(dir, "/run/writeback") && !strings.Contains(dir, "mode=0700")
		}), "others can enter where sealing keys are"},
	} {
		if rule.broken {
			why = append(why, rule.text)
		}
	}
	return why
}

func zero(limits map[string]int, name string) bool {
	n, ok := limits[name]
	return ok && n == 0
}

// TestContainers reads compose.yaml: what containers do not need is taken away.
func TestContainers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct{ Services map[string]service }
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	ours := []string{"consumer1", "consumer2", "publisher", "reset"} // what passwords pass through
	for _, name := range ours {
		if _, ok := compose.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, s := range compose.Services {
		for _, why := range s.weak(slices.Contains(ours, name)) {
			t.Errorf("%s: %s", name, why)
		}
		if n := len(s.Tmpfs); strings.HasPrefix(name, "consumer") && n != 1 {
			t.Errorf("%s has %d memory file systems, want that of its sealing keys", name, n)
		}
	}
	if why := (service{CapAdd: []string{"SYS_ADMIN"}, Tmpfs: []string{"/run/writeback"}, User: "0"}).weak(true); len(why) != 9 {
		t.Errorf("of a container with everything it says %s", fmt.Sprintf("%q", why))
	}
}
