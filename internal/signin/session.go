package signin

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"writeback/internal/reset"
)

// The cookies. With this prefix browsers take them only over TLS, from this host
// and for all of it, so that no neighbour can plant one (RFC 6265bis 4.1.3.2).
const (
	sessionCookie = "__Host-writeback-session"
	journeyCookie = "__Host-writeback-sign-in"
)

// A Session is somebody who is signed in.
type Session struct {
	Tenant  string
	Subject string        // the provider's own name for them; with the issuer it is theirs for ever
	Name    string        // to show them who they are, and for nothing else; may be empty
	Account reset.Account // in the directory; zero if the claim is missing or malformed
	Admin   bool          // may see the administration page
	Resets  bool          // may reset on behalf of users
	Overage bool          // the provider named too many groups to say which: Admin and Resets are false for that
	Proved  time.Time     // when they last showed the provider who they are; zero if it does not say
	Began   time.Time
	Note    string // of the page that was last given one to [Client.Remember]
	seen    time.Time
}

// Fresh reports whether they showed who they are within d.
func (s Session) Fresh(now time.Time, d time.Duration) bool {
	return now.Sub(s.Proved) <= d && s.Proved.Sub(now) <= leeway
}

// sealedSession is what is in the cookie.
type sealedSession struct {
	Subject string         `json:"sub"`
	Name    string         `json:"name,omitempty"`
	Kind    reset.NameKind `json:"kind,omitempty"`
	Account string         `json:"acct,omitempty"`
	Admin   bool           `json:"adm,omitempty"`
	Resets  bool           `json:"rst,omitempty"`
	Overage bool           `json:"ovr,omitempty"`
	Proved  int64          `json:"auth,omitempty"` // seconds, as the others
	Began   int64          `json:"iat"`
	Note    string         `json:"note,omitempty"`
	Seen    int64          `json:"seen"`
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func at(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// keep gives the browser the cookie of a session.
func (c *Client) keep(w http.ResponseWriter, s Session) {
	setCookie(w, c.sessions, sessionCookie, Idle, sealedSession{
		Subject: s.Subject, Name: s.Name, Kind: s.Account.Kind, Account: s.Account.Value,
		Admin: s.Admin, Resets: s.Resets, Overage: s.Overage,
		Proved: seconds(s.Proved), Began: seconds(s.Began), Note: s.Note, Seen: seconds(s.seen),
	})
}

// Session returns who the browser is signed in as. Where that is somebody, it
// starts the time of [Idle] anew.
func (c *Client) Session(w http.ResponseWriter, r *http.Request) (Session, bool) {
	s, ok := c.Peek(r)
	if now := c.now(); ok && now.Sub(s.seen) > Idle/15 { // not with every picture
		s.seen = now
		c.keep(w, s)
	}
	return s, ok
}

// Peek is Session for what a page asks for by itself, which says nothing of
// whether somebody is there: it does not start the time anew.
func (c *Client) Peek(r *http.Request) (Session, bool) {
	var in sealedSession
	if !readCookie(r, c.sessions, sessionCookie, &in) {
		return Session{}, false
	}
	s := Session{
		Tenant: c.cfg.Tenant, Subject: in.Subject, Name: in.Name,
		Account: reset.Account{Kind: in.Kind, Value: in.Account},
		Admin:   in.Admin, Resets: in.Resets, Overage: in.Overage,
		Proved: at(in.Proved), Began: at(in.Began), Note: in.Note, seen: at(in.Seen),
	}
	if now := c.now(); now.Sub(s.seen) > Idle || now.Sub(s.Began) > Longest {
		return Session{}, false
	}
	return s, true
}

// Remember has the session keep a note of at most 256 bytes for a page, which
// finds it again where the same person comes back, at whatever publisher.
func (c *Client) Remember(w http.ResponseWriter, s Session, note string) {
	s.Note = note
	c.keep(w, s)
}

// SignOut ends the session in this browser. The provider is not told.
func (c *Client) SignOut(w http.ResponseWriter) {
	dropCookie(w, sessionCookie)
	dropCookie(w, journeyCookie)
}

func setCookie(w http.ResponseWriter, aead cipher.AEAD, name string, life time.Duration, v any) {
	http.SetCookie(w, newCookie(name, Seal(aead, v), int(life.Seconds())))
}

func dropCookie(w http.ResponseWriter, name string) { http.SetCookie(w, newCookie(name, "", -1)) }

// newCookie returns a cookie that scripts cannot read. Lax, because browsers
// come back from the provider's site by a link; a form of another site, which
// would send it as well in old browsers, is refused by its origin.
func newCookie(name, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// readCookie reports whether there is one cookie of that name, sealed by us.
func readCookie(r *http.Request, aead cipher.AEAD, name string, v any) bool {
	cookies := r.CookiesNamed(name)
	if len(cookies) != 1 {
		return false
	}
	return Open(aead, cookies[0].Value, v)
}

// Seal returns v as the value of a cookie that only who has the key can read or
// make.
func Seal(aead cipher.AEAD, v any) string {
	plain, err := json.Marshal(v)
	if err != nil {
		panic("internal error: a cookie of ours cannot be marshalled: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, nil))
}

// Open reads into v what Seal has made, and reports whether text is that.
func Open(aead cipher.AEAD, text string, v any) bool {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return false
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	return err == nil && json.Unmarshal(plain, v) == nil
}
