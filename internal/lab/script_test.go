package lab

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the programs as an operator does and looks at what an
// operator sees. Scripts that share a lab run one after the other, since some
// of them count what is in its streams.
func TestScripts(t *testing.T) {
	params := func(file string, setup func(*testscript.Env) error) testscript.Params {
		return testscript.Params{
			Files: []string{filepath.Join("testdata", "script", file)}, Setup: setup, Cmds: commands(), ContinueOnError: true,
		}
	}
	for _, file := range []string{"publisher.txt", "consumer.txt", "keys.txt", "token.txt", "tenant.txt", "audit.txt"} {
		dial := forbidden(t)
		testscript.Run(t, params(file, func(env *testscript.Env) error {
			programs(t, env)
			return validConfig(t, env.WorkDir, dial)
		}))
	}
	l := startLab(t, "fake")
	admin := inspect(t, l.endpoints(t))
	for _, file := range []string{"api.txt", "send.txt", "streams.txt", "check.txt"} {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
			testscript.Run(t, params(file, func(env *testscript.Env) error {
				programs(t, env)
				env.Values["endpoints"], env.Values["admin"] = l.endpoints(t), admin
				env.Setenv("API", l.APIURL)
				env.Setenv("TOKENS", l.tokensFile())
				env.Setenv("CONSUMER", l.path(consumerName(0)))
				env.Setenv("PROVISION", l.path("nats", "provision.yaml"))
				for i, u := range l.Directory.Users {
					env.Setenv(fmt.Sprintf("UPN%d", i), u.UPN)
					env.Setenv(fmt.Sprintf("GUID%d", i), u.ObjectGUID)
				}
				return os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(l.Token+"\n"), 0o600)
			}))
		})
	}
}

// programs lets scripts find the programs under test before any others.
func programs(t *testing.T, env *testscript.Env) {
	env.Setenv("PATH", binaries(t)+string(os.PathListSeparator)+os.Getenv("PATH"))
}

type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are those that the scripts have besides testscript's own.
func commands() map[string]command {
	plus := map[string]command{
		"exits":   exits,
		"refused": refused,
		"nkeyof":  nkeyOf,
		"body":    body,
		"api":     api,
		"streams": streams,
		"token":   token,
		"outdate": outdate,
		"known":   known,
	}
	for name, cmd := range plus {
		plus[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("%s: cannot be negated", name)
			}
			cmd(ts, neg, args)
		}
	}
	return plus
}

// status runs a program and returns its exit code.
func status(ts *testscript.TestScript, args []string) int {
	begun := time.Now()
	err := ts.Exec(args[0], args[1:]...)
	if took := time.Since(begun); took > 20*time.Second {
		ts.Fatalf("%v took %s", args, took)
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		ts.Fatalf("%v", err)
	}
	if ended == nil {
		return 0
	}
	return ended.ExitCode()
}

// exits CODE PROGRAM ARGUMENT... runs a program that must end with CODE.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if code := status(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// runs are the commands that read a configuration, by the name that scripts
// give them.
func runs(what, path string) []string {
	return map[string][]string{
		"publisher": {"publisher", "serve", "-config", path},
		"consumer":  {"consumer", "run", "-config", path},
		"provision": {"publisher", "streams", "-config", path, "-timeout", "2s"},
		"audit":     {"audit", "verify", "-config", path},
	}[what]
}

// refused WHAT KEY VALUE PATTERN writes VALUE (YAML; "-" removes the key) for
// KEY into a copy of WHAT.yaml and runs the program with and without -validate:
// it must end with exit code 2, print nothing, and give one line on standard
// error that names the file and matches PATTERN. KEY has dots between its parts.
func refused(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("refused: want WHAT KEY VALUE PATTERN, got %q", args)
	}
	what, key, value, pattern := args[0], args[1], args[2], args[3]
	path := ts.MkAbs("changed.yaml")
	text, err := edited([]byte(ts.ReadFile(what+".yaml")), key, value)
	ts.Check(err)
	ts.Check(os.WriteFile(path, text, 0o600))
	for _, more := range [][]string{{"-validate"}, nil} {
		run := append(runs(what, path), more...)
		if code := status(ts, run); code != 2 {
			ts.Fatalf("%s: %s: %v ended with exit code %d, want 2; it said:\n%s%s",
				key, value, run, code, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
		if out := ts.ReadFile("stdout"); out != "" {
			ts.Fatalf("%s: %s: printed %q", key, value, out)
		}
		said := ts.ReadFile("stderr")
		if strings.Count(said, "\n") != 1 || !strings.Contains(said, path) || !regexp.MustCompile(pattern).MatchString(said) {
			ts.Fatalf("%s: %s: %v said\n%swant one line with the file's name and %q", key, value, more, said, pattern)
		}
	}
}

// body FILE PIECE... writes the pieces one after the other. A piece N*TEXT is
// repeated N times, a piece 0xHEX stands for bytes.
func body(ts *testscript.TestScript, _ bool, args []string) {
	var text []byte
	times := regexp.MustCompile(`^([0-9]+)\*(.+)$`)
	for _, piece := range args[1:] {
		if digits, ok := strings.CutPrefix(piece, "0x"); ok {
			raw, err := hex.DecodeString(digits)
			ts.Check(err)
			text = append(text, raw...)
		} else if m := times.FindStringSubmatch(piece); m != nil {
			n, err := strconv.Atoi(m[1])
			ts.Check(err)
			text = append(text, strings.Repeat(m[2], n)...)
		} else {
			text = append(text, piece...)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// api METHOD PATH [@FILE] [HEADER...] calls the API with the lab's token and
// prints status, headers and body. A header replaces what would be sent, and
// "Name:" leaves it out.
func api(ts *testscript.TestScript, _ bool, args []string) {
	e := ts.Value("endpoints").(*Endpoints)
	method, path, rest := args[0], args[1], args[2:]
	var text []byte
	if len(rest) > 0 && strings.HasPrefix(rest[0], "@") {
		text = []byte(ts.ReadFile(rest[0][1:]))
		rest = rest[1:]
	}
	r, err := e.do(context.Background(), method, path, bytes.NewReader(text), rest...)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s\n", r.Status, http.StatusText(r.Status))
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	fmt.Fprintf(ts.Stdout(), "\n%s", r.Body)
}

// streams FILE writes how many messages each stream has had and has.
func streams(ts *testscript.TestScript, _ bool, args []string) {
	text, err := ts.Value("admin").(*inspector).counts(context.Background())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// token NAME FLAG... makes a token with `publisher token` and these flags besides
// those that are needed, and sets the variables NAME to it and
// NAME_ID to its id.
func token(ts *testscript.TestScript, _ bool, args []string) {
	flags := []string{"token", "-file", ts.Getenv("TOKENS"), "-source", args[0], "-tenant", Tenant}
	ts.Check(ts.Exec("publisher", append(flags, args[1:]...)...))
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	ts.Setenv(args[0]+"_ID", strings.Fields(ts.ReadFile("stderr"))[1]) // Token ID for …
}

// outdate SOURCE moves the end of a token into the past, which `publisher token`
// does not do.
func outdate(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.Getenv("TOKENS")
	text, err := os.ReadFile(path)
	ts.Check(err)
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines {
		if !strings.Contains(line, `"source":"`+args[0]+`"`) {
			continue
		}
		for field, at := range map[string]time.Time{"made": time.Now().AddDate(0, 0, -9), "not_after": time.Now().AddDate(0, 0, -8)} {
			old := regexp.MustCompile(`"` + field + `":"[^"]*"`)
			line = old.ReplaceAllLiteralString(line, `"`+field+`":"`+at.UTC().Format(time.RFC3339)+`"`)
		}
		lines[i] = line
	}
	ts.Check(os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
}

// known TOKEN waits until the API knows a token, and with it all that was done
// to the file before.
func known(ts *testscript.TestScript, _ bool, args []string) {
	e := ts.Value("endpoints").(*Endpoints)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ts.Check(backoff.Retry(func() error {
		r, err := e.do(ctx, http.MethodGet, "/v1/requests/nobody", nil, "Authorization: Bearer "+args[0])
		if err == nil && r.Status == http.StatusUnauthorized {
			err = errors.New("the publisher does not know a new token")
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx)))
}
