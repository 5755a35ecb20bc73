package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"writeback/internal/testkit"
)

// A service is what compose.yaml says of one, as far as it takes something away.
type service struct {
	Image string
	Build struct {
		Dockerfile, Target string
	}
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
	CPUs        float64        `yaml:"cpus"`
	Tmpfs       []string
	Volumes     []string
	Ports       []string
	Networks    names
	NetworkMode string `yaml:"network_mode"`
	Restart     string
	Healthcheck *yaml.Node
}

// names are written as a list, or as the keys of a map.
type names []string

func (n *names) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return node.Decode((*[]string)(n))
	}
	for i := 0; i < len(node.Content); i += 2 {
		*n = append(*n, node.Content[i].Value)
	}
	return nil
}

// weak returns what a container has that it does not need. Only the domain controller
// is root, and has rights of root.
func (s service) weak() (why []string) {
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
		{s.Memory == "" || s.Memory != s.WithSwap, "its memory has no limit, or can be swapped out"},
		{s.Processes == 0, "it can have any number of threads"},
		{s.CPUs == 0, "it can take all processors"},
		{s.Healthcheck == nil && s.Restart != "no", "nobody sees whether it works"},
		{len(s.Networks) == 0 && s.NetworkMode != "none", "it is in a network that is not named"},
		{slices.ContainsFunc(s.Ports, func(p string) bool { return !strings.HasPrefix(p, "127.0.0.1:") }), "other machines reach it"},
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

// compose reads compose.yaml.
func compose(t *testing.T) (file struct {
	Services map[string]service
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
}) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestContainers: what containers do not need is taken away.
func TestContainers(t *testing.T) {
	file := compose(t)
	for name, s := range file.Services {
		for _, why := range s.weak() {
			t.Errorf("%s: %s", name, why)
		}
	}
	if n := len(file.Services["consumer"].Tmpfs); n != 1 {
		t.Errorf("a consumer has %d memory file systems, want that of its sealing keys", n)
	}
	all := service{CapAdd: []string{"SYS_ADMIN"}, Tmpfs: []string{"/run/writeback"}, User: "0", Ports: []string{"8080:8080"}}
	if why := all.weak(); len(why) != 13 {
		t.Errorf("of a container with everything it says %s", fmt.Sprintf("%q", why))
	}
}

// TestComposeNetworks: who meets whom, and who can get out.
func TestComposeNetworks(t *testing.T) {
	file := compose(t)
	members := make(map[string][]string)
	for name, s := range file.Services {
		for _, network := range s.Networks {
			members[network] = append(members[network], name)
		}
	}
	nodes := []string{"nats1", "nats2", "nats3"}
	for network, want := range map[string][]string{
		"edge":    {"api", "reset"},
		"cloud":   append([]string{"api", "audit", "prometheus", "publisher", "streams"}, nodes...),
		"routes":  nodes,
		"wan":     append([]string{"firewall"}, nodes...),
		"onprem":  {"consumer", "dc1", "firewall", "prometheus"},
		"monitor": {"grafana", "prometheus"},
	} {
		slices.Sort(want)
		slices.Sort(members[network])
		if !slices.Equal(members[network], want) {
			t.Errorf("in the network %s are %q, want %q", network, members[network], want)
		}
		if outside := network == "edge" || network == "monitor"; file.Networks[network].Internal == outside {
			t.Errorf("the network %s: internal is %t, want %t", network, outside, !outside)
		}
		delete(members, network)
	}
	if len(members) > 0 {
		t.Errorf("there are other networks: %v", members)
	}
}

// pinned is an image by a version that does not move on to the next one.
var pinned = regexp.MustCompile(`^[a-z0-9/._-]+:([a-z]+-[a-z]+|[0-9]+\.[0-9]+[a-z0-9.-]*)$`)

// instructions returns the arguments of all lines of a Dockerfile that begin with a
// word.
func instructions(dockerfile, word string) (list [][]string) {
	for line := range strings.Lines(dockerfile) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == word {
			list = append(list, fields[1:])
		}
	}
	return list
}

// TestComposeFiles: each file that compose.yaml and its images take is there, and
// each image that they are made from has a version.
func TestComposeFiles(t *testing.T) {
	file, root := compose(t), testkit.Root(t)
	exists := func(who, pattern string) {
		if found, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(found) == 0 {
			t.Errorf("%s takes %s, which is not there", who, pattern)
		}
	}
	dockerfiles := make(map[string][]string) // and the services that they are of
	for name, s := range file.Services {
		if s.Build.Dockerfile == "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %q has no version", name, s.Image)
		} else if s.Build.Dockerfile != "" {
			dockerfiles[s.Build.Dockerfile] = append(dockerfiles[s.Build.Dockerfile], name)
		}
		for _, v := range s.Volumes {
			source, rest, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				exists(name, source)
				if !strings.HasSuffix(rest, ":ro") {
					t.Errorf("%s: can write %s of this repository", name, source)
				}
			} else if _, ok := file.Volumes[source]; !ok {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
	}
	for path, services := range dockerfiles {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		stages := []string{"scratch"}
		for _, from := range instructions(string(text), "FROM") {
			if !slices.Contains(stages, from[0]) && !pinned.MatchString(from[0]) {
				t.Errorf("%s: the image %s has no version", path, from[0])
			}
			if len(from) == 3 {
				stages = append(stages, from[2])
			}
		}
		for _, files := range instructions(string(text), "COPY") {
			if strings.HasPrefix(files[0], "--from=") {
				continue
			}
			for _, f := range files[:len(files)-1] {
				exists(path, f)
			}
		}
		for _, name := range services {
			if target := file.Services[name].Build.Target; target != "" && !slices.Contains(stages, target) {
				t.Errorf("%s: %s has no stage %s", name, path, target)
			}
		}
	}
}

// TestImagesOfOneProgram: the images of the two sides hold their program and nothing
// else, not even a shell.
func TestImagesOfOneProgram(t *testing.T) {
	for _, program := range []string{"publisher", "consumer"} {
		s := compose(t).Services[program]
		text, err := os.ReadFile(filepath.Join(testkit.Root(t), s.Build.Dockerfile))
		if err != nil {
			t.Fatal(err)
		}
		_, last, found := strings.Cut(string(text), "\nFROM scratch\n")
		if !found || strings.Contains(last, "FROM ") || s.Build.Target != "" {
			t.Fatalf("%s: the image is not made from nothing", program)
		}
		for _, files := range instructions(last, "COPY") {
			if dir := slices.Contains(files, "/run"); !slices.Contains(files, "/out/"+program) && (!dir || program != "consumer") {
				t.Errorf("%s: the image takes %q", program, files)
			}
		}
	}
}

func TestPinned(t *testing.T) {
	for image, want := range map[string]bool{
		"debian:trixie-slim": true, "golang:1.26-trixie": true, "grafana/grafana:12.4.0": true,
		"debian": false, "debian:latest": false, "grafana/grafana:latest": false, "nats:2": false, "": false,
	} {
		if pinned.MatchString(image) != want {
			t.Errorf("%q: got %t, want %t", image, !want, want)
		}
	}
}
