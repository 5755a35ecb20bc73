package obs

import (
	"strings"
	"testing"
)

func TestParseTraceParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if p := ParseTraceParent(good); p != good {
		t.Errorf("%q is none", good)
	} else if trace, span, flags := p.Parts(); trace != "0af7651916cd43dd8448eb211c80319c" || span != "b7ad6b7169203331" || flags != "01" {
		t.Errorf("its parts are %s, %s and %s", trace, span, flags)
	}
	for name, bad := range map[string]string{
		"nothing":           "",
		"one that goes on":  good + "-00",
		"cut off":           good[:54],
		"another version":   "01" + good[2:],
		"no version":        "ff" + good[2:],
		"capitals":          strings.ToUpper(good),
		"no trace":          "00-" + strings.Repeat("0", 32) + good[35:],
		"no span":           good[:36] + strings.Repeat("0", 16) + good[52:],
		"not hexadecimal":   strings.Replace(good, "f", "g", 1),
		"dashes elsewhere":  strings.Replace(good, "-b7", "b7-", 1),
		"flags with a line": good[:53] + "0\n",
		"a long text":       strings.Repeat("a", 1<<20),
		"a dash in a trace": good[:10] + "-" + good[11:],
	} {
		if p := ParseTraceParent(bad); p != "" {
			t.Errorf("%s is taken for one: %.80q", name, p)
		}
	}
}
