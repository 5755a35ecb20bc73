package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"writeback/internal/secret"
)

const canary = "c4nary-pa55word"

// leaks reports whether out holds the canary in a form in which fmt or an
// encoder may write bytes.
func leaks(out string) bool {
	var decimal []string
	for _, c := range []byte(canary) {
		decimal = append(decimal, fmt.Sprint(c))
	}
	out = strings.ToLower(out)
	for _, form := range []string{
		canary,
		hex.EncodeToString([]byte(canary)),
		fmt.Sprintf("% x", canary),
		fmt.Sprintf("%#v", []byte(canary)),
		strings.Join(decimal, " "),
		strings.Join(decimal, ", "),
		strings.Join(decimal, ","),
		base64.StdEncoding.EncodeToString([]byte(canary)),
	} {
		if strings.Contains(out, strings.ToLower(form)) {
			return true
		}
	}
	return false
}

type exported struct {
	Name string
	V    secret.Value
}

type unexported struct {
	name string
	v    secret.Value
}

// A function or channel beside a secret makes fmt print the whole struct a
// second time, without asking for methods.
type mixed struct {
	F func()
	C chan int
	P *int
	V secret.Value
	v *secret.Value
}

// holders returns the value inside everything that it may sit in.
func holders() map[string]any {
	v := secret.New([]byte(canary))
	return map[string]any{
		"value":                  v,
		"pointer":                &v,
		"exported field":         exported{"n", v},
		"pointer to struct":      &exported{"n", v},
		"unexported field":       unexported{"n", v},
		"pointer to unexported":  &unexported{"n", v},
		"beside a function":      mixed{func() {}, make(chan int), new(int), v, &v},
		"pointer beside":         &mixed{func() {}, make(chan int), new(int), v, &v},
		"slice":                  []secret.Value{v},
		"slice of pointers":      []*secret.Value{&v},
		"slice of structs":       []unexported{{"n", v}},
		"array":                  [2]secret.Value{v, v},
		"map":                    map[string]secret.Value{"k": v},
		"map of structs":         map[string]unexported{"k": {"n", v}},
		"map of any":             map[string]any{"k": v, "p": &v},
		"interface":              any(v),
		"struct with an any":     struct{ x any }{v},
		"nested":                 struct{ a struct{ b []unexported } }{struct{ b []unexported }{[]unexported{{"n", v}}}},
		"error that wraps it":    fmt.Errorf("binding with %v, %s: %w", v, v, errors.New("cause")),
		"error with its struct":  fmt.Errorf("request %+v", unexported{"n", v}),
		"embedded":               struct{ secret.Value }{v},
		"function that holds it": func() secret.Value { return v },
	}
}

func TestLeaksFindsTheCanary(t *testing.T) {
	b := []byte(canary)
	verb := strings.Repeat("%s", 1) // not a constant, so that the linters let it through
	for _, out := range []string{
		canary, fmt.Sprint(b), fmt.Sprintf("%x", b), fmt.Sprintf("% X", b), fmt.Sprintf("%#v", b),
		fmt.Sprintf("%v", struct{ b []byte }{b}), fmt.Sprintf(verb, struct{ b *[]byte }{&b}),
	} {
		if !leaks(out) {
			t.Errorf("the search does not find the canary in %s", out)
		}
	}
}

func TestNoVerbPrintsIt(t *testing.T) {
	for name, h := range holders() {
		for _, verb := range strings.Split("v +v #v s q x X d o O b c U t e g p T 08v -20s .3s 5x # x +q w", " ") {
			if out := fmt.Sprintf("%"+verb, h); leaks(out) {
				t.Errorf("%%%s of %s prints the secret: %s", verb, name, out)
			}
		}
		if out := fmt.Sprint(h) + fmt.Sprintln(h); leaks(out) {
			t.Errorf("Print of %s prints the secret: %s", name, out)
		}
	}
	if got := fmt.Sprintf("%v %s %#v %d %q", secret.New([]byte("a")), secret.Value{}, secret.New(nil), secret.New(nil), secret.New(nil)); got != strings.TrimSpace(strings.Repeat("[secret] ", 5)) {
		t.Errorf("secrets are printed as %q", got)
	}
}

var encoders = map[string]func(any) ([]byte, error){
	"JSON": json.Marshal,
	"XML":  xml.Marshal,
	"YAML": yaml.Marshal,
	"gob": func(h any) ([]byte, error) {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(h)
		return b.Bytes(), err
	},
}

// attempt returns what encode writes or says. Encoders panic on some of the
// types here, which is as good as an error.
func attempt(encode func(any) ([]byte, error), h any) (out string) {
	defer func() {
		if r := recover(); r != nil {
			out = fmt.Sprint(r)
		}
	}()
	b, err := encode(h)
	return fmt.Sprint(string(b), err)
}

func TestNoEncoderWritesIt(t *testing.T) {
	for name, h := range holders() {
		for encoding, encode := range encoders {
			if out := attempt(encode, h); leaks(out) {
				t.Errorf("%s of %s holds the secret: %q", encoding, name, out)
			}
		}
	}
	v := secret.New([]byte(canary))
	var errs []error
	for _, marshal := range []func() ([]byte, error){v.MarshalJSON, v.MarshalText, v.MarshalBinary, v.GobEncode,
		func() ([]byte, error) { return json.Marshal(exported{"n", v}) },
		func() ([]byte, error) { return xml.Marshal(exported{"n", v}) },
		func() ([]byte, error) { return nil, gob.NewEncoder(new(bytes.Buffer)).Encode(exported{"n", v}) },
	} {
		b, err := marshal()
		if err == nil || len(b) != 0 {
			t.Errorf("a secret is marshalled as %q, %v", b, err)
		}
		errs = append(errs, err)
	}
	if leaks(errors.Join(errs...).Error()) {
		t.Error("an error of marshalling holds the secret")
	}
}

func TestNoLoggerWritesIt(t *testing.T) {
	for name, h := range holders() {
		var out bytes.Buffer
		log := zerolog.New(&out)
		v := secret.New([]byte(canary))
		log.Info().Interface("v", h).Msg("interface")
		log.Info().Any("v", h).Msg("any")
		log.Info().Stringer("v", v).Stringers("vs", []fmt.Stringer{v, &v}).Msg("stringer")
		log.Info().Err(fmt.Errorf("wrapped %v", h)).AnErr("cause", fmt.Errorf("%+v", h)).Msg("error")
		log.Info().Fields(map[string]any{"v": h}).Msgf("%v", h)
		with := log.With().Interface("v", h).Logger()
		with.Info().Type("t", h).Msg("with")
		slog.New(slog.NewJSONHandler(&out, nil)).Info("slog", "v", h)
		slog.New(slog.NewTextHandler(&out, nil)).Info("slog", "v", h)
		if leaks(out.String()) {
			t.Errorf("a log line with %s holds the secret: %s", name, out.String())
		}
	}
}

func TestCheckPassword(t *testing.T) {
	tests := []struct {
		name, password string
		want           string // in the error; empty: it is taken
	}{
		{"plain", "correct horse", ""},
		{"one character", "x", ""},
		{"NUL and controls are the directory's business", "a\x00\x1f", ""},
		{"256 units", strings.Repeat("x", 256), ""},
		{"257 units", strings.Repeat("x", 257), "256"},
		{"256 units of three bytes", strings.Repeat("€", 256), ""},
		{"257 units of three bytes", strings.Repeat("€", 257), "256"},
		{"128 surrogate pairs", strings.Repeat("😀", 128), ""},
		{"128 surrogate pairs and one", strings.Repeat("😀", 128) + "x", "256"},
		{"129 surrogate pairs", strings.Repeat("😀", 129), "256"},
		{"255 units and a pair", strings.Repeat("x", 255) + "😀", "256"},
		{"empty", "", "empty"},
		{"invalid UTF-8", "a\xffb", "Unicode"},
		{"encoded surrogate", "a\xed\xa0\x80b", "Unicode"},
		{"cut in a character", "€"[:2], "Unicode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := secret.CheckPassword(secret.New([]byte(tt.password)))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckPassword = %v, want an error with %q", err, tt.want)
			}
			if err != nil && tt.password != "" && strings.Contains(err.Error(), tt.password) {
				t.Errorf("the error repeats the password: %v", err)
			}
		})
	}
	if secret.CheckPassword(secret.Value{}) == nil {
		t.Error("the zero value is taken for a password")
	}
}

func TestWipe(t *testing.T) {
	b := []byte(canary)
	v := secret.New(b)
	other := v
	v.Wipe()
	if !bytes.Equal(b, make([]byte, len(canary))) {
		t.Errorf("after Wipe the bytes are %q", b)
	}
	other.Reveal(func(b []byte) error {
		if len(b) != len(canary) || bytes.ContainsFunc(b, func(r rune) bool { return r != 0 }) {
			t.Errorf("a copy of a wiped value reveals %q", b)
		}
		return nil
	})
	secret.Value{}.Wipe()
}

func TestRevealAndEmpty(t *testing.T) {
	stop := errors.New("stop")
	for _, tt := range []struct {
		v    secret.Value
		want string
	}{{secret.Value{}, ""}, {secret.New(nil), ""}, {secret.New([]byte{}), ""}, {secret.New([]byte("x")), "x"}} {
		var got []byte
		err := tt.v.Reveal(func(b []byte) error {
			got = bytes.Clone(b)
			return stop
		})
		if string(got) != tt.want || !errors.Is(err, stop) || tt.v.Empty() != (tt.want == "") {
			t.Errorf("revealed %q with error %v, empty %t; want %q", got, err, tt.v.Empty(), tt.want)
		}
	}
}
