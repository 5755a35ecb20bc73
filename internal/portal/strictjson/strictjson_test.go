package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// decode reads data into the shape that the tests share.
func decode(data []byte) (text string, secret []byte, yes bool, list []string, err error) {
	err = Decode(data, Object(Fields{
		"text":   Text(func(s string) { text = s }),
		"secret": Bytes(func(b []byte) { secret = b }),
		"inner":  Object(Fields{"yes": Bool(func(b bool) { yes = b })}),
		"list":   List(2, Text(func(s string) { list = append(list, s) })),
	}))
	return
}

func TestDecode(t *testing.T) {
	text, secret, yes, list, err := decode([]byte(
		" {\"text\" : \"\\u0041\\ud83d\\ude00é\\/\\n\" ,\r\n\t\"s\\u0065cret\":\"\\\"\\\\\\b\\f\\r\\t\\u0000\",\"inner\":{\"yes\":true},\"list\":[\"a\",\"b\"]} "))
	if err != nil {
		t.Fatal(err)
	}
	if text != "A😀é/\n" || string(secret) != "\"\\\b\f\r\t\x00" || !yes || strings.Join(list, " ") != "a b" {
		t.Errorf("got %q, %q, %t, %q", text, secret, yes, list)
	}
	if _, secret, _, _, err := decode([]byte(`{"secret":""}`)); err != nil || secret == nil {
		t.Errorf("an empty string: got %v, %v; want an empty buffer", secret, err)
	}
	if _, secret, _, list, err := decode([]byte(`{"inner":{},"list":[]}`)); err != nil || secret != nil || list != nil {
		t.Errorf("nothing: got %v, %v, %v", secret, list, err)
	}
}

func TestRefused(t *testing.T) {
	const planted = "hunter2"
	tests := []struct {
		name, data, field, reason string
	}{
		{"nothing", ``, "", "is not valid JSON"},
		{"a word", `hunter2`, "", "is not valid JSON"},
		{"a byte order mark", "\ufeff{}", "", "is not valid JSON"},
		{"null", `null`, "", "must be an object"},
		{"a list", `["hunter2"]`, "", "must be an object"},
		{"deep lists", strings.Repeat("[", 60000), "", "must be an object"},
		{"deep objects", strings.Repeat(`{"inner":`, 10000), "inner", "has a field that is not known"},
		{"deep in a text", `{"text":` + strings.Repeat("[", 60000), "text", "must be a string"},
		{"unknown field", `{"hunter2":1}`, "", "has a field that is not known"},
		{"unknown field inside", `{"inner":{"hunter2":1}}`, "inner", "has a field that is not known"},
		{"other case", `{"Text":"hunter2"}`, "", "has a field that is not known"},
		{"twice", `{"text":"a","text":"hunter2"}`, "text", "is there twice"},
		{"twice, one escaped", `{"text":"a","t\u0065xt":"hunter2"}`, "text", "is there twice"},
		{"twice inside", `{"inner":{"yes":true,"yes":true}}`, "inner.yes", "is there twice"},
		{"more after it", `{"text":"hunter2"} {}`, "", "has something after its end"},
		{"comma at the end", `{"text":"hunter2",}`, "", "is not valid JSON"},
		{"no comma", `{"text":"a" "secret":"hunter2"}`, "", "is not valid JSON"},
		{"no colon", `{"text" "hunter2"}`, "text", "is not valid JSON"},
		{"name without quotes", `{text:"hunter2"}`, "", "is not valid JSON"},
		{"cut", `{"text":"hunter2`, "text", "is not valid JSON"},
		{"cut in an escape", `{"text":"hunter2\`, "text", "is not valid JSON"},
		{"cut in a unit", `{"text":"hunter2\u12"}`, "text", "is not valid JSON"},
		{"cut after a field", `{"text":"hunter2"`, "", "is not valid JSON"},
		{"unknown escape", `{"text":"hunter2\x"}`, "text", "is not valid JSON"},
		{"wrong digit", `{"text":"hunter2\u00g0"}`, "text", "is not valid JSON"},
		{"control character", "{\"text\":\"hunter2\n\"}", "text", "is not valid JSON"},
		{"first half of a pair", `{"secret":"hunter2\ud800"}`, "secret", "has half of a surrogate pair"},
		{"first half and a letter", `{"secret":"\ud800hunter2"}`, "secret", "has half of a surrogate pair"},
		{"first half and a unit", `{"secret":"\ud800\u0041"}`, "secret", "has half of a surrogate pair"},
		{"second half", `{"secret":"hunter2\uDC00"}`, "secret", "has half of a surrogate pair"},
		{"half a pair in a name", `{"\ud800":1}`, "", "has half of a surrogate pair"},
		{"not UTF-8", "{\"secret\":\"hunter2\xff\"}", "secret", "is not valid UTF-8"},
		{"surrogate in UTF-8", "{\"secret\":\"\xed\xa0\x80\"}", "secret", "is not valid UTF-8"},
		{"cut UTF-8", "{\"secret\":\"hunter2\xc3\"}", "secret", "is not valid UTF-8"},
		{"number for a text", `{"text":12345}`, "text", "must be a string"},
		{"null for a text", `{"text":null}`, "text", "must be a string"},
		{"text for a bool", `{"inner":{"yes":"true"}}`, "inner.yes", "must be true or false"},
		{"a longer word than true", `{"inner":{"yes":trueish}}`, "inner", "is not valid JSON"},
		{"text for an object", `{"inner":"hunter2"}`, "inner", "must be an object"},
		{"text for a list", `{"list":"hunter2"}`, "list", "must be a list"},
		{"a longer list", `{"list":["a","b","hunter2"]}`, "list", "must have at most 2 elements"},
		{"a list of others", `{"list":[true]}`, "list", "must be a string"},
		{"comma at a list's end", `{"list":["a",]}`, "list", "is not valid JSON"},
		{"list without comma", `{"list":["a" "b"]}`, "list", "is not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, _, err := decode([]byte(tt.data))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Field != tt.field || e.Reason != tt.reason {
				t.Errorf("got field %q and %q, want %q and %q", e.Field, e.Reason, tt.field, tt.reason)
			}
			if e.Offset < 0 || e.Offset > len(tt.data) {
				t.Errorf("offset %d is not in 0 to %d", e.Offset, len(tt.data))
			}
			if strings.Contains(err.Error(), planted) {
				t.Errorf("the error repeats input: %v", err)
			}
		})
	}
}

func TestWhole(t *testing.T) {
	tests := []struct {
		name, data string
		want       int
		reason     string
	}{
		{"zero", `{"n":0}`, 0, ""},
		{"with space around it", `{"n" : 12 }`, 12, ""},
		{"the limit", `{"n":60000}`, 60000, ""},
		{"more than the limit", `{"n":60001}`, 0, "must be at most 60000"},
		{"more than fits a number", `{"n":99999999999999999999}`, 0, "must be at most 60000"},
		{"a zero before it", `{"n":012}`, 0, "is not valid JSON"},
		{"below zero", `{"n":-1}`, 0, "must be a whole number"},
		{"a fraction", `{"n":1.5}`, 0, "is not valid JSON"},
		{"an exponent", `{"n":1e3}`, 0, "is not valid JSON"},
		{"a text", `{"n":"12"}`, 0, "must be a whole number"},
		{"null", `{"n":null}`, 0, "must be a whole number"},
		{"nothing", `{"n":}`, 0, "is not valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := 0
			err := Decode([]byte(tt.data), Object(Fields{"n": Whole(60000, func(n int) { got = n })}))
			var e *Error
			if errors.As(err, &e) && e.Reason != tt.reason || err == nil && (tt.reason != "" || got != tt.want) {
				t.Errorf("got %d, %v; want %d, %q", got, err, tt.want, tt.reason)
			}
		})
	}
}

// FuzzDecode: what is accepted is valid JSON, and encoding/json reads the same
// from it; what is a string for encoding/json comes back as it was.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"text":"a\ud83d\ude00","secret":"\u0000","inner":{"yes":false},"list":["x"]}`))
	f.Add([]byte(`{"secret":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, secret, yes, list, err := decode(data)
		if err == nil {
			var want struct {
				Text, Secret string
				Inner        struct{ Yes bool }
				List         []string
			}
			if !utf8.Valid(data) {
				t.Errorf("accepted what is not UTF-8: %q", data)
			}
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatalf("accepted %q, encoding/json says: %v", data, err)
			}
			if text != want.Text || string(secret) != want.Secret || yes != want.Inner.Yes ||
				strings.Join(list, "\x00") != strings.Join(want.List, "\x00") {
				t.Errorf("%q: got %q %q %t %q, want %+v", data, text, secret, yes, list, want)
			}
		}
		if !utf8.Valid(data) {
			return
		}
		quoted, err := json.Marshal(string(data))
		if err != nil {
			t.Fatal(err)
		}
		_, secret, _, _, err = decode(append(append([]byte(`{"secret":`), quoted...), '}'))
		if err != nil || !bytes.Equal(secret, data) {
			t.Errorf("%q came back as %q, %v", data, secret, err)
		}
	})
}
