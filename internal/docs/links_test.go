package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// manuals returns the texts of all pages, by their paths from the root.
func manuals(t testing.TB) map[string]string {
	t.Helper()
	return testkit.Texts(t, "*.md", "docs/*.md", "nats/*.md")
}

// anchors returns what can stand behind a # in links to a page.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

// dead returns the links of a page that lead nowhere.
func dead(pages map[string]string, page string, exists func(path string) bool) (links []string) {
	for _, m := range link.FindAllStringSubmatch(pages[page], -1) {
		file, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(m[1], "://") {
			continue
		}
		path := page
		if file != "" {
			path = filepath.Join(filepath.Dir(page), file)
		}
		if !exists(path) || anchor != "" && !anchors(pages[path])[anchor] {
			links = append(links, m[1])
		}
	}
	return links
}

func TestLinks(t *testing.T) {
	pages := manuals(t)
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(testkit.Root(t), path))
		return err == nil
	}
	for page := range pages {
		for _, l := range dead(pages, page, exists) {
			t.Errorf("%s: the link to %s leads nowhere", page, l)
		}
	}
}

func TestDead(t *testing.T) {
	pages := map[string]string{
		"docs/a.md": "# A `b.key`, and more\n[1](#a-bkey-and-more) [2](#none) [3](b.md) [4](b.md#two) [5](c.md) [6](https://example.com/x)\n",
		"docs/b.md": "## One\n",
	}
	got := strings.Join(dead(pages, "docs/a.md", func(path string) bool { return pages[path] != "" }), " ")
	if got != "#none b.md#two c.md" {
		t.Errorf("dead links are %s", got)
	}
}

// TestReadmeListsPages makes sure that whoever begins at the README finds every page.
func TestReadmeListsPages(t *testing.T) {
	pages := manuals(t)
	for page := range pages {
		if dir, _ := filepath.Split(page); dir == "docs/" && !strings.Contains(pages["README.md"], "]("+page+")") {
			t.Errorf("README.md does not lead to %s", page)
		}
	}
}
