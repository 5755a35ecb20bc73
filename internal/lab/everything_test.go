package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"writeback/internal/reset"
)

// An everything is a system on the fake of which every word is kept: two
// publishers and two consumers that log all they can, may write core dumps if
// nothing of their own keeps them from it, and show all they have when they crash.
type everything struct {
	*owner
	t           *testing.T
	second      *frontDoor
	out         *output
	dir         string // in which the programs run, and which is their folder for temporary files
	said, codes map[string]string
}

func startEverything(t *testing.T) *everything {
	t.Helper()
	x := &everything{t: t, out: &output{}, said: map[string]string{}, codes: map[string]string{}}
	l, err := Start(t.Context(), Options{
		Bin: build(t, panics()), NATS: filepath.Join(binaries(t), "..", "nats"), Dir: filepath.Join(t.TempDir(), "lab"),
		Consumers: 2, Directory: "fake", Out: x.out, Endpoints: filepath.Join(t.TempDir(), "endpoints.json"), Idle: true,
	})
	if err != nil {
		t.Fatalf("starting the lab: %v\n%s", err, x.out)
	}
	t.Cleanup(l.Close)
	x.dir = l.path("folder")
	if err := os.Mkdir(x.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{l.path("publisher", "publisher.yaml"), l.path(consumerName(0), "consumer.yaml"), l.path(consumerName(1), "consumer.yaml")} {
		edit(t, path, func(cfg node) { cfg["log_level"] = "debug" })
	}
	x.second = l.configureFrontDoor(t, "second", nil)
	x.owner = newOwner(t, l)
	for name, config := range map[string]string{"publisher": "publisher.yaml", "second": "second.yaml"} {
		x.run(name, l.program("publisher", "serve", "-config", l.path("publisher", config)))
	}
	for _, e := range []*Endpoints{x.e, x.second.Endpoints} {
		await(t, "the API", func() error {
			_, err := e.do(t.Context(), http.MethodGet, "/v1/status", nil)
			return err
		})
	}
	// At first they do not know the tenant's switches yet.
	await(t, "a refusal for want of a consumer", func() error {
		if r := x.reset("nobody on premises yet", x.person()); r.Code != string(reset.NoConsumer) {
			return fmt.Errorf("%s", r.Body)
		}
		return nil
	})
	for i := range l.opts.Consumers {
		x.run(consumerName(i), l.program("consumer", "run", "-config", l.path(consumerName(i), "consumer.yaml")))
	}
	x.ready()
	return x
}

// run starts a program, with everything on that could give something away.
func (x *everything) run(name string, command func() *exec.Cmd) {
	x.t.Helper()
	_, err := x.l.run(name, func() *exec.Cmd { return exposed(command(), x.dir) })
	if err != nil {
		x.t.Fatal(err)
	}
}

// exposed is a command that may write core dumps of any size into dir.
func exposed(cmd *exec.Cmd, dir string) *exec.Cmd {
	args := append([]string{"-c", `ulimit -c unlimited && exec "$@"`, "sh"}, cmd.Args...)
	c := exec.Command("sh", args...)
	c.Dir, c.Env = dir, append(os.Environ(), "GOTRACEBACK=crash", "TMPDIR="+dir)
	return c
}

// ready waits until both publishers have heard of a consumer.
func (x *everything) ready() {
	x.t.Helper()
	for _, config := range []string{"publisher.yaml", "second.yaml"} {
		if err := AwaitReady(x.t.Context(), x.l.path("publisher", config)); err != nil {
			x.t.Fatalf("%v\n%s", err, x.out)
		}
	}
	if err := x.l.writeEndpoints(); err != nil {
		x.t.Fatal(err)
	}
}

// person returns the name of a new account.
func (x *everything) person() string {
	return someone(person{})(x.t, &fakeStage{x.l.fake}).UPN
}

// do makes a call to one publisher after the other, and keeps what is said.
func (x *everything) do(what, method, path, body string, headers ...string) response {
	x.t.Helper()
	e := []*Endpoints{x.e, x.second.Endpoints}[len(x.said)%2]
	r, err := e.do(x.t.Context(), method, path, strings.NewReader(body), append([]string{"Prefer: wait=60"}, headers...)...)
	if err != nil {
		x.t.Errorf("%s: %v", what, err)
	}
	x.keep(what, r)
	return r
}

func (x *everything) keep(what string, r response) {
	x.said[fmt.Sprintf("answer %d, %s", len(x.said), what)] = fmt.Sprint(r.Header, r.Body)
	x.codes[r.Code] = what
}

// reset asks for a reset to a new canary.
func (x *everything) reset(what, upn string, headers ...string) response {
	x.t.Helper()
	return x.do(what, http.MethodPost, "/v1/resets", fmt.Sprintf(`{"account":{"upn":%q},"password":%s}`, upn, quoted(newCanary())), headers...)
}

// ends waits for a request's outcome.
func (x *everything) ends(what, id, code string) {
	x.t.Helper()
	await(x.t, what, func() error {
		r, err := x.e.do(x.t.Context(), http.MethodGet, "/v1/requests/"+id, nil)
		x.keep(what, r)
		if err == nil && r.Code != code {
			err = fmt.Errorf("it is %q, not %q: %s", r.Code, code, r.Body)
		}
		return err
	})
}

func quoted(password string) string {
	text, _ := json.Marshal(password)
	return string(text)
}

// needles are what no output may have: the beginning of every canary, and the
// passwords of the situations.
func needles() map[string][]byte {
	all := make(map[string][]byte)
	for _, password := range []string{canaryMark, fresh, current, "Granite-" + filtered + "-42", "Wrong-Anchor-1"} {
		for name, needle := range encodings(password) {
			all[password+" as "+name] = needle
		}
	}
	return all
}

// look keeps what programs show of themselves.
func (x *everything) look() {
	x.t.Helper()
	pages := operations(x.t, x.l.Dir, x.l.opts.Consumers)
	pages["second"] = x.second.operations
	for name, url := range pages {
		for _, page := range []string{"/metrics", "/readyz", "/healthz"} {
			resp, err := http.Get(url + page)
			if err != nil {
				x.t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || len(text) == 0 {
				x.t.Errorf("%s%s: %v", name, page, err)
			}
			x.said[page+" of "+name] = fmt.Sprint(resp.Header, string(text))
		}
	}
	for _, p := range x.l.endpoints(x.t).Processes {
		for _, file := range []string{"cmdline", "environ", "comm", "status"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, file))
			if err != nil {
				x.t.Errorf("looking at %s: %v", p.Name, err)
			}
			x.said[file+" of "+p.Name] = string(text)
		}
	}
}

// dumped is how a process's end is described that left a core dump.
const dumped = "core dumped"

// neverSaid are the codes that this run does not provoke, and why.
var neverSaid = map[string]string{
	string(reset.Clock): "wants a machine whose clock is wrong; portal.TestCanary has a refusal in its place",
}

// TestCanaryOfEverything sends passwords through every operation, every outcome
// and every refusal, crashes each program while it has one in hand, and then looks
// for them in everything that is left: answers, logs, files, the broker's store,
// pages, what is known of the processes, and what the crashes printed.
func TestCanaryOfEverything(t *testing.T) {
	t.Parallel()
	x := startEverything(t)
	expires := x.catch(t, x.l.Directory.Users[0], newCanary()) // which takes two minutes

	x.operate()
	x.refuse()
	x.doubt()
	x.forbid()
	x.crash()
	x.panic()
	x.loseBroker()
	x.loseKeys()
	x.ends("expired", expires.id, string(reset.Expired))

	codes := map[string]bool{}
	for _, code := range reset.Codes() {
		codes[string(code)] = true
	}
	for _, code := range reset.RefusalCodes() {
		codes[string(code)] = true
	}
	for code := range codes {
		if _, said := x.codes[code]; said == (neverSaid[code] != "") {
			t.Errorf("%s: that it was said is %t, and the reason not to is %q", code, said, neverSaid[code])
		}
	}
	x.look()
	for _, hit := range search(t, needles(), x.said, nil, x.l.Dir, x.l.runtime) {
		t.Errorf("while it runs: %s", hit)
	}
	files, err := os.ReadDir(x.dir)
	if err != nil || len(files) != 0 {
		t.Errorf("the programs have written %v, %v", files, err)
	}
	if strings.Contains(x.out.String(), dumped) {
		t.Errorf("a program has dumped its memory:\n%s", x.out)
	}
	// As another program would, where the kernel is set to write dumps to files.
	other := exposed(exec.Command("sh", "-c", "kill -ABRT $$"), t.TempDir())
	if err := other.Run(); err == nil || !strings.Contains(err.Error(), dumped) {
		t.Logf("no program can dump its memory on this machine (see core(5)): %v", err)
	}
	if !t.Failed() {
		t.Logf("searched for %d forms of passwords in %d answers and pages, and below %s, after %d codes: %s",
			len(needles()), len(x.said), x.l.Dir, len(x.codes), strings.Join(slices.Sorted(maps.Keys(x.codes)), " "))
	}

	// The search sees what is there: a program that does print a password when
	// it crashes is found out.
	x.plant()
	x.l.Close()
	hits := search(t, needles(), nil, nil, x.l.Dir)
	if len(hits) == 0 {
		t.Error("the search does not find a password that a crash printed")
	}
	for _, hit := range hits {
		if !bytes.HasPrefix([]byte(hit), []byte(x.l.path("logs", "consumer"))) {
			t.Errorf("after the end: %s", hit)
		}
	}
}
