package lab

import (
	"crypto/sha256"
	"net/url"
	"strings"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/browser"
)

// A voice speaks of one request with a consumer's key, while the queue keeps it from
// the consumers.
type voice struct {
	*owner
	log     *audit.Log
	request envelope.Header
	hash    [32]byte
	last    audit.Link
}

// voice waits for the request that is in the queue.
func (r *reader) voice(t *testing.T, o *owner) *voice {
	t.Helper()
	signer, err := seal.LoadSigner(r.l.path(consumerName(0), "consumer.key"), seal.PurposeConsumer)
	if err != nil {
		t.Fatal(err)
	}
	message := o.newest(t).Data
	h := parse(t, message).Header
	return &voice{o, audit.NewLog(signer, consumerName(0)), h, sha256.Sum256(message), audit.Link{Seq: h.ParentSeq, Hash: h.Parent}}
}

// says writes the next record of the request.
func (v *voice) says(t *testing.T, kind envelope.Kind, code reset.Code) {
	t.Helper()
	rec := envelope.Record{
		Kind: kind, Tenant: v.request.Tenant, Publisher: v.request.Publisher, ID: v.request.ID, Operation: v.request.Operation, Code: code,
		Time: time.Now(), Parent: v.last.Hash, ParentSeq: v.last.Seq, Request: v.hash,
	}
	data, err := v.log.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := v.js.Publish(t.Context(), "rec."+v.request.Publisher+"."+v.request.ID.String()+".con", data)
	if err != nil {
		t.Fatal(err)
	}
	v.last = audit.Link{Seq: ack.Sequence, Hash: sha256.Sum256(data)}
}

// Nobody knows what became of a request, and the page says so. It becomes known that
// nothing was changed: the page says that, and the same link can be used again.
func pageUnconfirmed(t *testing.T, r *reader) {
	o := &owner{inspect(t, r.e), r.l, r.e}
	u := r.newUser(t)
	link := r.ticket(u)
	tab := r.open(link)
	o.pause(t, time.Now().Add(time.Hour))
	fill(tab, fresh)
	v := r.voice(t, o)
	v.says(t, envelope.Claimed, "")
	tab.Await("#result .ticks li:nth-child(3).done")
	v.says(t, envelope.Settled, reset.Unconfirmed)
	tab.AwaitText(says(reset.Reset, reset.Unconfirmed))
	tab.AwaitText("We are still trying to find out")
	r.look(t, tab, "unconfirmed")
	r.german(t, tab, "unconfirmed")
	beside := tab.Beside(t)
	beside.Open(link)
	beside.AwaitText(says(reset.Reset, reset.Unconfirmed))
	if browser.Eval[bool](beside, `document.querySelector("#form") !== null`) {
		t.Error("it can be tried again, although the password may be set")
	}
	v.says(t, envelope.Corrected, reset.DirectoryError)
	for _, open := range []*browser.Tab{tab, beside} { // neither was touched
		open.AwaitText(says(reset.Reset, reset.DirectoryError))
		open.Await("#form")
	}
	o.pause(t, time.Time{})
	fill(tab, fresh)
	tab.AwaitText(set)
	if n := r.l.fake.Counts(u.SAMAccountName).Passwords; n != 1 {
		t.Errorf("the password was set %d times", n)
	}
}

// One link, open in three places of a browser: of two forms one is used, a page that
// was closed shows what became of it when it is opened again, and so does the page
// of another publisher.
func pageTabs(t *testing.T, r *reader) {
	u := r.newUser(t)
	link := r.ticket(u)
	second := r.l.startFrontDoor(t, "second", nil)
	elsewhere := func(link string) string {
		at, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		return second.APIURL + at.RequestURI()
	}
	tab := r.open(link)
	beside, other := tab.Beside(t), tab.Beside(t)
	beside.Open(link)
	hold := r.held()
	fill(tab, fresh)
	<-hold.Met()
	fill(beside, "Another-"+fresh)
	beside.Await("#result .ticks li:nth-child(3).done")
	tab.Open("about:blank")
	other.Open(elsewhere(link))
	other.Await("#result .ticks li:nth-child(3).done")
	hold.Release()
	beside.AwaitText(set)
	other.AwaitText(set)
	tab.Open(link)
	tab.AwaitText(set)
	if n := r.l.fake.Counts(u.SAMAccountName).Passwords; n != 1 || !r.l.fake.Check(u.SAMAccountName, fresh) {
		t.Errorf("the password was set %d times, or to that of the second form", n)
	}
	stranger := r.open(elsewhere(link))
	stranger.AwaitText("This link was used in another browser")
	// And one that the first publisher made is used at the second.
	stranger.Open(elsewhere(r.ticket(r.newUser(t))))
	fill(stranger, fresh)
	stranger.AwaitText(set)
	stranger.Back()
	stranger.AwaitText(set)
	r.l.remove("second")
}

func pageNoCookies(t *testing.T, r *reader) {
	tab := browser.StartWithoutCookies(t).Tab(t, browser.Desk())
	link := r.ticket(r.newUser(t))
	tab.Open(link)
	tab.AwaitText("your browser does not keep cookies")
	tab.AwaitText("Allow cookies for this page and open your link again.")
	r.open(link).Await("#form") // it is not used up
}

// pageColours looks at what colours and movement say besides: they are gone where the
// user wants it so, and nothing is said by them alone.
func pageColours(t *testing.T, r *reader) {
	look := browser.Phone()
	look.Forced = true
	tab := r.b.Tab(t, look)
	tab.Open(r.ticket(r.newUser(t)))
	tab.Type("#password", fresh)
	tab.AwaitText("Very hard to guess")
	if same := browser.Eval[bool](tab, `getComputedStyle(document.querySelector(".bar")).backgroundColor === getComputedStyle(document.querySelector(".bar span")).backgroundColor`); same {
		t.Error("how strong the password is cannot be seen")
	}
	for _, v := range r.axe.Violations(tab) {
		t.Errorf("with the user's colours: axe-core: %s", v)
	}
	tab.Picture(r.dir, "form-forced")
	tab.Type("#again", fresh)
	hold := r.held()
	tab.Click("#form button[type=submit]")
	<-hold.Met()
	tab.Await("#result .ticks li:nth-child(4).now")
	moving := func() int { return browser.Eval[int](tab, "document.getAnimations().length") }
	if n := moving(); n != 0 {
		t.Errorf("%d things move though the user wants none to", n)
	}
	tab.Picture(r.dir, "busy-forced")
	look.Motion = true
	tab.Look(look)
	if n := moving(); n != 1 {
		t.Errorf("%d things move, want the sign that something is under way", n)
	}
	hold.Release()
	tab.AwaitText(set)
	if !strings.Contains(tab.Text("#result .ticks"), "The password is set") {
		t.Error("the last step is not said")
	}
}
