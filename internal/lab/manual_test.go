package lab

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// A typed is something that a reader of the pages is told to type: a command on a
// machine, or a file.
type typed struct {
	page, heading string
	machine       string // of a command; "" where it does not matter
	command       string // with what follows a backslash on the next lines
	file, text    string // instead of a command
}

var (
	promptLine = regexp.MustCompile(`^ +([a-z]*)\$ (.+)$`)
	fileLine   = regexp.MustCompile(`^    # ([a-z]+\.(?:yaml|env))$`)
)

// manual returns what a page tells to type, in its order: lines with a prompt, and
// indented blocks that begin with the name of a file.
func manual(page, text string) (all []typed) {
	heading := ""
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "## ") {
			heading = lines[i]
		}
		if m := promptLine.FindStringSubmatch(lines[i]); m != nil {
			t := typed{page: page, heading: heading, machine: m[1], command: m[2]}
			for strings.HasSuffix(t.command, `\`) && i+1 < len(lines) {
				i++
				t.command += "\n" + lines[i]
			}
			all = append(all, t)
		}
		if m := fileLine.FindStringSubmatch(lines[i]); m != nil {
			t := typed{page: page, heading: heading, file: m[1]}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "    "); i++ {
				t.text += strings.TrimPrefix(lines[i], "    ") + "\n"
			}
			all = append(all, t)
		}
	}
	return all
}

func TestManual(t *testing.T) {
	got := manual("p", "# P\n## One\n    # a.yaml\n    x: 1\n      y: 2\n\n      m$ do \\\n        it\n    do not\n## Two\n    $ that\n`m$ no`\n")
	want := []typed{
		{page: "p", heading: "## One", file: "a.yaml", text: "# a.yaml\nx: 1\n  y: 2\n"},
		{page: "p", heading: "## One", machine: "m", command: "do \\\n        it"},
		{page: "p", heading: "## Two", command: "that"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// pages returns the texts of the pages that tell what to type.
func pages(t *testing.T) map[string]string {
	t.Helper()
	return testkit.Texts(t, "docs/*.md", "README.md", "nats/README.md")
}

// walked are the pages whose commands TestInstallation runs.
func walked() []string { return []string{"docs/operations.md", "docs/callers.md", "docs/audit.md"} }

// notWalked says of commands, by how they begin, which test runs them instead, or why
// none does.
func notWalked() map[string]string {
	return map[string]string{
		"make ":                "it is what runs all of this",
		"echo 'Correct":        "docker; make compose-test runs the same",
		"sed -i '/^wbkey1":     "TestStolenKeys",
		"mv record.key":        "TestStolenKeys",
		"awk -v m=":            "TestStolenKeys",
		"cat record.key":       "TestStolenKeys",
		"rm -f /run/":          "TestStolenKeys, with a restart of its own in the place of systemd's",
		"cryptsetup ":          "it formats a disk",
		"mkfs.ext4 ":           "it formats a disk",
		"audit export -syslog": "it needs a collector; export.TestSyslog has one",
	}
}

// why returns why TestInstallation does not run a command.
func why(command string) (reason string, ok bool) {
	for prefix, reason := range notWalked() {
		if strings.HasPrefix(command, prefix) {
			return reason, true
		}
	}
	return "", false
}

// unprompted is a line of a block that looks like a command and has no prompt.
var unprompted = regexp.MustCompile(`(?m)^ {4,}((?:publisher|consumer|audit|curl|openssl) [a-z-]+)(?: .*)?$`)

// otherMachines are pages whose commands are for machines that no test here has.
func otherMachines() []string {
	return []string{
		"docs/compose.md", // Docker: make compose-test
		"docs/windows.md", // Windows
	}
}

// TestCommandsAreRun makes sure that a command in a page is run by TestInstallation, or
// that it is said why not, and that nothing is said of commands that are gone.
func TestCommandsAreRun(t *testing.T) {
	unused := notWalked()
	total := 0
	for page, text := range pages(t) {
		for _, m := range unprompted.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(otherMachines(), page) {
				t.Errorf("%s: %q needs a prompt that says on which machine it is typed", page, m[1])
			}
		}
		for _, c := range manual(page, text) {
			if c.file != "" {
				continue
			}
			total++
			_, excused := why(c.command)
			if !excused && !slices.Contains(walked(), page) {
				t.Errorf("%s: nothing runs %q, and nothing says why", page, c.command)
			}
			maps.DeleteFunc(unused, func(prefix, _ string) bool { return strings.HasPrefix(c.command, prefix) })
		}
	}
	for prefix := range unused {
		t.Errorf("there is no command that begins with %q", prefix)
	}
	if total < 40 {
		t.Errorf("there are %d commands only: this test looks for the wrong form", total)
	}
}

// usage returns the flags of a program's command, nil if it has none of that name.
func usage(t *testing.T, args []string) map[string]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(binaries(t), args[0]), append(args[1:], "-help")...).CombinedOutput()
	if err != nil {
		return nil
	}
	flags := map[string]bool{"-help": true}
	for _, m := range regexp.MustCompile(`(?m)^  (-[a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		flags[m[1]] = true
	}
	return flags
}

// ourCommand is one of our programs with a command, in a page.
var ourCommand = regexp.MustCompile("(?:^|[ `;|])((?:publisher|consumer|audit) [a-z]+(?: [^`;|\n]*)?)")

// TestFlagsInPages makes sure that each command and flag of ours that a page names,
// in a line to type or in the text, is there.
func TestFlagsInPages(t *testing.T) {
	known := make(map[string]map[string]bool)
	total := 0
	for page, text := range pages(t) {
		for _, line := range linesWithCommands(text) {
			for _, m := range ourCommand.FindAllStringSubmatch(line, -1) {
				words := strings.Fields(m[1])
				command := words[:2]
				if words[1] == "tenant" && len(words) > 2 && !strings.HasPrefix(words[2], "-") {
					command = words[:3]
				}
				name := strings.Join(command, " ")
				if _, ok := known[name]; !ok {
					known[name] = usage(t, command)
				}
				if known[name] == nil && name != "publisher tenant" {
					t.Errorf("%s: there is no command %s: %s", page, name, line)
					continue
				}
				for _, w := range words[len(command):] {
					if total++; strings.HasPrefix(w, "-") && !known[name][w] {
						t.Errorf("%s: %s has no flag %s: %s", page, name, w, line)
					}
				}
			}
		}
	}
	if len(known) < 20 || total < 60 {
		t.Errorf("the pages have %d commands and %d flags only: this test looks for the wrong form", len(known), total)
	}
}

// said is what begins like a command and is a line of a log.
var said = regexp.MustCompile(`^[a-z]+ (?:started|stopped|has|is|says|debug|info|warn|error)\b`)

// linesWithCommands returns what a page has in code: lines with a prompt, and spans
// that begin with one of our programs.
func linesWithCommands(text string) (lines []string) {
	for _, c := range manual("", text) {
		lines = append(lines, c.command)
	}
	for _, m := range regexp.MustCompile("`((?:publisher|consumer|audit) [a-z]+[^`]*)`").FindAllStringSubmatch(text, -1) {
		if !said.MatchString(m[1]) {
			lines = append(lines, m[1])
		}
	}
	return lines
}

// String names a command for messages.
func (c typed) String() string {
	return fmt.Sprintf("%s, %q: %s$ %s", c.page, c.heading, c.machine, c.command)
}
