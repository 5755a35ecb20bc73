package lab

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"writeback/internal/reset"
	"writeback/internal/testkit/fakead"
)

// operate makes requests of every operation that end in every way the directory
// knows, and some that meet another.
func (x *everything) operate() {
	x.t.Helper()
	s := &fakeStage{x.l.fake}
	for i, tt := range situations() {
		_, r := []*Endpoints{x.e, x.second.Endpoints}[i%2].request(x.t, s, tt)
		x.keep(tt.path+" of "+tt.how, r)
		if r.Code != string(tt.code) {
			x.t.Errorf("%s of %s ended as %s", tt.path, tt.how, r.Body)
		}
	}
	// A repeat finds the first request, whichever publisher is asked.
	upn := x.person()
	first := x.reset("the first", upn, "Idempotency-Key: one")
	if again := x.reset("its repeat", upn, "Idempotency-Key: one"); again.ID == "" || again.ID != first.ID {
		x.t.Errorf("the repeat is request %q, the first was %q", again.ID, first.ID)
	}
	x.reset("another account's repeat", x.person(), "Idempotency-Key: one")

	held := x.l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
	first = x.reset("a request in hand", upn, "Prefer: wait=0")
	<-held.Met()
	x.reset("one more for the same account", strings.ToUpper(upn))
	held.Release()
	x.ends("a request that was in hand", first.ID, string(reset.Applied))

	token := x.l.path("send-token")
	if err := os.WriteFile(token, []byte(x.l.Token+"\n"), 0o600); err != nil {
		x.t.Fatal(err)
	}
	for what, account := range map[string]string{"send": x.person(), "send to nobody": "nobody@corp.example.com"} {
		cmd := exposed(exec.CommandContext(x.t.Context(), filepath.Join(x.l.opts.Bin, "publisher"),
			"send", "-api", x.l.APIURL, "-token-file", token, "-upn", account), x.dir)
		cmd.Stdin = strings.NewReader(newCanary() + "\n")
		out, err := cmd.CombinedOutput()
		if (err == nil) != (what == "send") {
			x.t.Errorf("%s: %v\n%s", what, err, out)
		}
		x.said[what] = string(out)
	}
}

// refuse makes requests that are not taken.
func (x *everything) refuse() {
	x.t.Helper()
	upn := x.person()
	for what, form := range malformed() {
		x.do(what, http.MethodPost, "/v1/resets", fmt.Sprintf(form, upn, strings.Trim(quoted(newCanary()), `"`)))
	}
	x.do("too large", http.MethodPost, "/v1/resets", `{"password":`+quoted(strings.Repeat(newCanary(), 1<<15)))
	x.reset("of another type", upn, "Content-Type: text/plain")
	x.reset("with a password for a token", upn, "Authorization: Bearer "+newCanary())
	x.reset("with a password for a key", upn, "Idempotency-Key: "+newCanary()+"\u00fc")
	x.do("a password for an id", http.MethodGet, "/v1/requests/"+url.PathEscape(newCanary()), "")
	x.do("a password for a route", http.MethodPost, "/v1/"+url.PathEscape(newCanary()), "{}")

	prober, slow := x.l.grant(x.t, "prober", "-operations", "probe"), x.l.grant(x.t, "slow", "-rate", "1")
	await(x.t, "the tokens are known", func() error {
		for range 2 { // to each publisher
			if r := x.reset("with a token for something else", upn, "Authorization: Bearer "+prober); r.Code != string(reset.Forbidden) {
				return errors.New(r.Body)
			}
		}
		return nil
	})
	for range 4 {
		x.reset("with a slow token", upn, "Authorization: Bearer "+slow)
	}
}

// doubt loses the answers to modifies: one was carried out, one was not and
// somebody else set a password then.
func (x *everything) doubt() {
	x.t.Helper()
	s := &fakeStage{x.l.fake}
	lost := x.l.fake.Inject(fakead.Modify, fakead.Fault{Reply: fakead.Cut})
	applied := x.reset("an answer that is lost", x.person(), "Prefer: wait=0")
	<-lost.Done()
	u := someone(person{})(x.t, s)
	lost = x.l.fake.Inject(fakead.Modify, fakead.Fault{Skip: true, Reply: fakead.Cut})
	overtaken := x.reset("a modify that is lost", u.UPN, "Prefer: wait=0")
	<-lost.Done()
	if err := x.l.fake.SetPassword(u.SAMAccountName, "Somebody-Else-7"); err != nil {
		x.t.Fatal(err)
	}
	x.ends("an answer that was lost", applied.ID, string(reset.Applied))
	x.ends("a modify that was lost", overtaken.ID, string(reset.Unconfirmed))
}

// forbid changes the company's policy for a while.
func (x *everything) forbid() {
	x.t.Helper()
	before := map[string]node{}
	for i := range x.l.opts.Consumers {
		path := x.l.path(consumerName(i), "policy.yaml")
		before[path] = readNode(x.t, path)
		edit(x.t, path, func(policy node) { policy["operations"] = []string{"unlock"} })
	}
	upn := x.person()
	x.until("against the policy", upn, string(reset.OperationOff))
	for path, policy := range before {
		if err := write(path, policy); err != nil {
			x.t.Fatal(err)
		}
	}
	x.until("within the policy again", upn, string(reset.Applied))
}

// until asks until a request ends so five times in a row, which both consumers
// have their part in.
func (x *everything) until(what, upn, code string) {
	x.t.Helper()
	await(x.t, what, func() error {
		for range 5 {
			if r := x.reset(what, upn); r.Code != code {
				return errors.New(r.Body)
			}
		}
		return nil
	})
}

// loseKeys has both consumers lose the key of a request that waits for them.
func (x *everything) loseKeys() {
	x.t.Helper()
	x.pause(x.t, time.Now().Add(time.Hour))
	r := x.reset("sealed for keys that are lost", x.person(), "Prefer: wait=0")
	x.newest(x.t)
	for i := range x.l.opts.Consumers {
		boxes, err := filepath.Glob(filepath.Join(x.l.runtime, consumerName(i), "box-*"))
		if err != nil || len(boxes) == 0 {
			x.t.Fatalf("%s keeps no keys: %v", consumerName(i), err)
		}
		for _, box := range boxes {
			if err := os.Remove(box); err != nil {
				x.t.Fatal(err)
			}
		}
		x.kill(consumerName(i), syscall.SIGKILL)
	}
	x.pause(x.t, time.Time{})
	x.ends("sealed for keys that were lost", r.ID, string(reset.Unreadable))
}

// kill sends a signal to a program, and waits until it was started again.
func (x *everything) kill(name string, sig syscall.Signal) {
	x.t.Helper()
	pid := x.l.endpoints(x.t).pid(x.t, name)
	if err := syscall.Kill(pid, sig); err != nil {
		x.t.Fatal(err)
	}
	await(x.t, "the next run of "+name, func() error {
		if x.l.endpoints(x.t).pid(x.t, name) == pid {
			return fmt.Errorf("%s is still process %d", name, pid)
		}
		return nil
	})
}

// holds waits until a program has a password in its memory.
func (x *everything) holds(name string, pid int, password string) {
	x.t.Helper()
	await(x.t, name+" has the password", func() error {
		if inMemory(x.t, pid, map[string][]byte{"it": []byte(password)})["it"] == 0 {
			return errors.New("it has not")
		}
		return nil
	})
}

// crash ends consumers that wait for the answer to a modify, and publishers that
// have half of a request, by signals at which Go prints all that it knows.
func (x *everything) crash() {
	x.t.Helper()
	var ids []string
	for _, sig := range []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGQUIT} {
		password := newCanary()
		held := x.l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
		r := x.do("in hand at a crash", http.MethodPost, "/v1/resets",
			fmt.Sprintf(`{"account":{"upn":%q},"password":%s}`, x.person(), quoted(password)), "Prefer: wait=0")
		ids = append(ids, r.ID)
		<-held.Met()
		await(x.t, "the claim", func() error {
			r = x.l.get(x.t, x.e, r.ID)
			if r.Consumer == "" {
				return errors.New(r.Body)
			}
			return nil
		})
		x.holds(r.Consumer, x.l.endpoints(x.t).pid(x.t, r.Consumer), password)
		x.kill(r.Consumer, sig)
		held.Release()
		x.traced(r.Consumer, sig)

		for name, e := range map[string]*Endpoints{"publisher": x.e, "second": x.second.Endpoints} {
			password := "c4nary-" + strings.TrimPrefix(newCanary(), canaryMark)
			conn := halfRequest(x, e, password)
			x.holds(name, x.l.endpoints(x.t).pid(x.t, name), password)
			x.kill(name, sig)
			conn.Close()
			x.traced(name, sig)
		}
		x.ready()
	}
	for _, id := range ids {
		x.ends("in hand at a crash", id, string(reset.Applied))
	}
}

// halfRequest sends a request but for its end.
func halfRequest(x *everything, e *Endpoints, password string) net.Conn {
	x.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.APIURL, "http://"))
	if err != nil {
		x.t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /v1/resets HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n"+
		`{"account":{"upn":"ada@corp.example.com"},"password":%q,`, e.APIToken, password)
	if err != nil {
		x.t.Fatal(err)
	}
	return conn
}

// traced checks that the log of a program has what Go prints at a signal.
func (x *everything) traced(name string, sig syscall.Signal) {
	x.t.Helper()
	word := map[syscall.Signal]string{syscall.SIGABRT: "SIGABRT: abort", syscall.SIGSEGV: "SIGSEGV: segmentation violation", syscall.SIGQUIT: "SIGQUIT: quit"}[sig]
	if log := string(x.l.log(x.t, name)); !strings.Contains(log, word) || !strings.Contains(log, "goroutine ") {
		x.t.Errorf("the log of %s has no trace of %s", name, word)
	}
}

// panic has a program of each kind panic with a password in hand.
func (x *everything) panic() {
	x.t.Helper()
	body := func(word string) string {
		return fmt.Sprintf(`{"account":{"upn":%q},"password":%s}`, x.person(), quoted(newCanary()+word))
	}
	x.logs(x.t, "publisher", "panic: broken on purpose with ", func() error {
		r, err := x.e.do(x.t.Context(), http.MethodPost, "/v1/resets", strings.NewReader(body(breaksPublisher)))
		if err == nil {
			return fmt.Errorf("a publisher that panicked says %s", r.Body)
		}
		return nil
	})
	x.ready()
	x.logs(x.t, "consumer", "panic: broken on purpose with [secret] [secret]", func() error {
		x.do("at which a consumer panics", http.MethodPost, "/v1/resets", body(breaksConsumer), "Prefer: wait=0")
		return nil
	})
	x.drop(x.t)
	x.ready()
}

// plant has a consumer print a password.
func (x *everything) plant() {
	x.t.Helper()
	x.logs(x.t, "consumer", "planted "+canaryMark, func() error {
		x.do("at which a consumer prints it", http.MethodPost, "/v1/resets",
			fmt.Sprintf(`{"account":{"upn":%q},"password":%s}`, x.person(), quoted(newCanary()+plants)), "Prefer: wait=0")
		return nil
	})
	x.drop(x.t)
}

// loseBroker stops the broker for a while, and then kills it.
func (x *everything) loseBroker() {
	x.t.Helper()
	pid := x.e.pid(x.t, "nats")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		x.t.Fatal(err)
	}
	x.reset("without a broker", x.person())
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		x.t.Fatal(err)
	}
	x.kill("nats", syscall.SIGKILL)
	x.ready()
}
