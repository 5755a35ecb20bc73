package reference

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type part struct {
	Name string `yaml:"name"` // what it is called
	Bare int    `yaml:"bare"`
}

type sample struct {
	// KeyFile is read a
	// second time with Wait.
	KeyFile string        `yaml:"key_file"`
	Wait    time.Duration `yaml:"wait"`  // 1s|2s
	On      bool          `yaml:"on"`    // or off.
	Parts   []part        `yaml:"parts"` // pieces
	Hidden  func()        `yaml:"-"`
}

func TestRows(t *testing.T) {
	w := &writer{comments: readComments(t), elements: []any{part{Name: "bolt"}}}
	w.rows(reflect.ValueOf(sample{Wait: 90 * time.Minute}), "")
	want := []string{
		"| `key_file` | path |  | `key_file` is read a second time with `wait` |",
		"| `wait` | duration | `1h30m` | 1s\\|2s |",
		"| `on` | true or false | `false` | or off |",
		"| `parts` | list of sections |  | pieces |",
		"| `parts[].name` | text | `bolt` | what it is called |",
		"| `parts[].bare` | whole number |  |  |",
	}
	if got := strings.Split(strings.TrimSpace(w.text.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("the rows are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(w.bare, []string{"parts[].bare"}) {
		t.Errorf("without a comment are %q", w.bare)
	}
}

func TestReplace(t *testing.T) {
	text := "# Page\n\n## one\n\nText.\n\n| old |\n|---|\n\nMore.\n\n## two\n\n## three\n\n| old |\n"
	for heading, want := range map[string]string{
		"one":   strings.Replace(text, "| old |\n|---|\n", "| new |\n", 1),
		"three": strings.TrimSuffix(text, "| old |\n") + "| new |\n",
		"two":   "",
		"four":  "",
	} {
		got, err := replace(text, heading, "| new |\n")
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", heading, got, err, want)
		}
	}
}
