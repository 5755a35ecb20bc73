package prometheus

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// A Rule is an alert of a file of rules, as far as tests look at it.
type Rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// ReadRules returns the alerts of a file of rules.
func ReadRules(path string) ([]Rule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct{ Groups []struct{ Rules []Rule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var rules []Rule
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules, nil
}

// A Dashboard is one of Grafana's, as far as tests look at it.
type Dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct{ List []Variable }
	Panels        []Panel
}

// A Variable is what is chosen at the top of a dashboard.
type Variable struct {
	Name, Type string
	AllValue   string
	Datasource Datasource
	Query      any // a text, or an object whose "query" is one
}

// A Panel is a plot, or the head of a row of them.
type Panel struct {
	ID          int
	Type, Title string
	Datasource  Datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ RefID, Expr, LegendFormat string }
}

// A Datasource is where values come from.
type Datasource struct{ Type, UID string }

// ReadDashboard returns the dashboard of a file.
func ReadDashboard(path string) (*Dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

var metric = regexp.MustCompile(`writeback_[a-z0-9_]+`)

// Metrics returns the names of our metrics in an expression, each once.
func Metrics(expr string) []string {
	names := metric.FindAllString(expr, -1)
	slices.Sort(names)
	return slices.Compact(names)
}
