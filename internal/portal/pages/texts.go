package pages

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// All texts of all pages, by their keys. A text may have verbs of package fmt.
//
//go:embed texts.json
var textsFile []byte

// A Language is one that all texts are in.
type Language string

const (
	English Language = "en"
	German  Language = "de"
)

// Languages returns all of them; the first is for whoever reads none of them.
func Languages() []Language { return []Language{English, German} }

type texts map[string]map[Language]string

func readTexts() (texts, error) {
	var t texts
	if err := json.Unmarshal(textsFile, &t); err != nil {
		return nil, fmt.Errorf("pages: reading texts: %w", err)
	}
	return t, nil
}

// languageOf returns the language that a browser prefers (RFC 9110 section
// 12.5.4) of those that there are.
func languageOf(h http.Header) Language {
	best, most := Languages()[0], 0.0
	for _, part := range strings.Split(strings.Join(h.Values("Accept-Language"), ","), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if weight, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		for _, l := range Languages() {
			if primary == string(l) && weight > most {
				best, most = l, weight
			}
		}
	}
	return best
}

// T returns the text with that key in the language of the call.
func (c *Call) T(key string, args ...any) (string, error) {
	text, ok := c.f.texts[key][c.Language]
	if !ok {
		return "", fmt.Errorf("pages: there is no text %s", key)
	}
	if len(args) > 0 {
		return fmt.Sprintf(text, args...), nil
	}
	return text, nil
}

// Count returns the text with that key for n things: of the key KEY.one where there
// is one thing and such a text.
func (c *Call) Count(key string, n int) (string, error) {
	if one := key + ".one"; n == 1 && c.Has(one) {
		return c.T(one)
	}
	return c.T(key, n)
}

// Decimal returns v with so many digits after the point, as the language writes it.
func (c *Call) Decimal(v float64, digits int) string {
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if c.Language == German {
		return strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Has reports whether there is a text with that key.
func (c *Call) Has(key string) bool { return c.f.texts[key] != nil }

// Reference is what whoever helps needs to find a call: the request that it was
// about or, before there is one, the call itself.
func (c *Call) Reference() string {
	if c.log.request != "" {
		return c.log.request
	}
	return "page-" + c.id
}
