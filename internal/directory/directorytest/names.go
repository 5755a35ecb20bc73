package directorytest

import (
	"encoding/base64"
	"strings"
	"testing"

	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
)

func (s *suite) names(t *testing.T) {
	for _, u := range []struct {
		name string
		user testkit.User
	}{
		{"without ConsistencyGuid", s.NewUser(t, User{})},
		{"with ConsistencyGuid", s.NewUser(t, User{ConsistencyGUID: randomGUID()})},
	} {
		for _, kind := range reset.NameKinds() {
			t.Run(u.name+" by "+kind.String(), func(t *testing.T) {
				session := s.begin(t)
				e, err := session.Find(t.Context(), account(t, kind, name(u.user, kind)))
				if err != nil {
					t.Fatal(err)
				}
				if got := reset.FormatGUID(e.GUID); got != u.user.ObjectGUID || !strings.EqualFold(e.DN, u.user.DN) {
					t.Errorf("found %s %s, want %s %s", got, e.DN, u.user.ObjectGUID, u.user.DN)
				}
				if e.Witness.DC == "" || e.Witness.USNChanged == 0 || e.Witness.PwdLastSet == 0 {
					t.Errorf("the witness is %+v, want all of it", e.Witness)
				}
				password := newPassword()
				if err := session.SetPassword(t.Context(), e, secret.New([]byte(password))); err != nil {
					t.Fatal(err)
				}
				s.opens(t, u.user, password)
				after, err := session.Find(t.Context(), account(t, kind, name(u.user, kind)))
				if err != nil {
					t.Fatal(err)
				}
				if after.Witness.USNChanged <= e.Witness.USNChanged || after.Witness.PwdLastSet <= e.Witness.PwdLastSet {
					t.Errorf("the witness went from %+v to %+v, want both later", e.Witness, after.Witness)
				}
			})
		}
	}
	u := s.NewUser(t, User{})
	for _, kind := range []reset.NameKind{reset.UPN, reset.SAMAccountName, reset.ObjectGUID} {
		if e := s.find(t, kind, strings.ToUpper(name(u, kind))); reset.FormatGUID(e.GUID) != u.ObjectGUID {
			t.Errorf("%s in upper case finds %s", kind, e.DN)
		}
	}
}

func (s *suite) unknown(t *testing.T) {
	guid := [16]byte(randomGUID())
	for kind, value := range map[reset.NameKind]string{
		reset.ImmutableID:    base64.StdEncoding.EncodeToString(guid[:]),
		reset.ObjectGUID:     reset.FormatGUID(guid),
		reset.UPN:            "nobody@corp.example.com",
		reset.SAMAccountName: "nobody",
		reset.SID:            "S-1-5-21-1-2-3-4567",
	} {
		session := s.begin(t)
		_, err := session.Find(t.Context(), account(t, kind, value))
		wantCode(t, err, reset.AccountNotFound)
		session.End()
	}
}

func (s *suite) ambiguous(t *testing.T) {
	shared := randomGUID()
	victim := s.NewUser(t, User{})
	guid := account(t, reset.ObjectGUID, victim.ObjectGUID).Binary()
	anchored := s.NewUser(t, User{ConsistencyGUID: randomGUID()})
	s.NewUser(t, User{ConsistencyGUID: shared})
	s.NewUser(t, User{ConsistencyGUID: shared})
	s.NewUser(t, User{ConsistencyGUID: guid})
	for _, tt := range []struct {
		name string
		id   []byte
	}{
		{"one ConsistencyGuid twice", shared},
		{"a ConsistencyGuid that is another's objectGUID", guid},
		{"the objectGUID of an account with another ConsistencyGuid", account(t, reset.ObjectGUID, anchored.ObjectGUID).Binary()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			session := s.begin(t)
			_, err := session.Find(t.Context(), account(t, reset.ImmutableID, base64.StdEncoding.EncodeToString(tt.id)))
			wantCode(t, err, reset.AccountAmbiguous)
		})
	}
}

func (s *suite) metacharacters(t *testing.T) {
	u := s.NewUser(t, User{})
	for _, value := range []string{
		"*", u.SAMAccountName[:3] + "*", ")(objectClass=*", "x)(|(objectClass=*)", `\2a`, `a\`, "(", "&",
		u.SAMAccountName + ")(cn=*", "Ü*", strings.Repeat("*", 200),
	} {
		for _, kind := range []reset.NameKind{reset.UPN, reset.SAMAccountName} {
			session := s.begin(t)
			_, err := session.Find(t.Context(), account(t, kind, value))
			wantCode(t, err, reset.AccountNotFound)
			session.End()
		}
	}
}

func (s *suite) lookAlikes(t *testing.T) {
	u := s.NewUser(t, User{})
	for what, replace := range map[string]string{
		"accent": "ú", "combining accent": "u\u0301", "full width": "ｕ", "Cyrillic": "и", "zero width": "u\u200b", "right to left": "\u202eu",
	} {
		for _, kind := range []reset.NameKind{reset.UPN, reset.SAMAccountName} {
			session := s.begin(t)
			_, err := session.Find(t.Context(), account(t, kind, strings.Replace(name(u, kind), "u", replace, 1)))
			if err == nil {
				t.Errorf("%s: found by %s", what, kind)
			} else {
				wantCode(t, err, reset.AccountNotFound)
			}
			session.End()
		}
	}
}
