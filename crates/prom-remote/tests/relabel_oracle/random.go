package main

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"regexp/syntax"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
)

func lowerUpper(letter rune) (rune, rune) {
	return []rune(strings.ToLower(string(letter)))[0], []rune(strings.ToUpper(string(letter)))[0]
}

// The same seed gives the same tables.
var random = rand.New(rand.NewPCG(2, 3))

func pick[T any](of []T) T { return of[random.IntN(len(of))] }

func chance(percent int) bool { return random.IntN(100) < percent }

type randomCase struct {
	Labels map[string]string `json:"labels"`
	Rules  []map[string]any  `json:"rules"`
	// Refused tells that Prometheus does not load the rules.
	Refused bool `json:"refused,omitempty"`
	// Expected are the labels after the rules; null if the series is dropped or no label is left.
	Expected map[string]string `json:"expected"`
}

var (
	names   = []string{"__name__", "a", "b", "ab", "job", "instance", "__tmp", "x1", "é", "a.b", "1"}
	values  = []string{"", "a", "b", "ab", "abc", "A-1", "kafka-1:7071", "ÉΣς", "ßİ", "x\ny", "$1", "12;34"}
	regexes = []string{
		"(.*)", ".*", ".+", "", "a", "a|b", "(a)(b)?", "([^:]+):(\\d+)", "(?P<n>a)(.*)", "(?i)A(B)", "x.y", "_*(.*)",
		"(.)(.*)", ".*;.*", "[a-z]+", "\\w+", "(a*)(a|b)*", "(.*?)-(.*)", "__.*", "é|job", "(", "a**", "[[:alpha:]](.*)",
	}
	replacements = []string{"$1", "", "x", "$2$1", "${1}_x", "$0", "$n", "${n}y", "$$1", "a", "b", "$1x", "$", "é", "${2}"}
	targets2     = []string{"", "a", "b", "c", "$1", "x_$1", "job", "__tmp", "é", "${1}", "a.b", "$n", "1"}
	actions      = []string{
		"replace", "Keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
		"uppercase", "nonsense",
	}
	separators = []string{"", ";", "-", "::"}
)

func randomRule() map[string]any {
	action := pick(actions[:len(actions)-1])
	if chance(1) {
		action = "nonsense"
	}
	rule := map[string]any{}
	isReplace := action == "replace"
	if !isReplace || chance(50) {
		rule["action"] = action
	}
	onNames := strings.HasPrefix(action, "label")
	needsTarget := !onNames && action != "Keep" && action != "drop"
	usesRegex := isReplace || onNames || !needsTarget
	set := func(key string, meant bool, value any) {
		if meant && chance(75) || !meant && chance(1) {
			rule[key] = value
		}
	}
	sources := []string{}
	for range random.IntN(3) {
		sources = append(sources, pick(names))
	}
	set("source_labels", !onNames, append(sources, pick(names)))
	set("separator", usesRegex && !onNames, pick(separators))
	set("regex", usesRegex, pick(regexes))
	set("replacement", isReplace || action == "labelmap", pick(replacements))
	if needsTarget && chance(97) || chance(1) {
		rule["target_label"] = pick(targets2)
	}
	if action == "hashmod" && chance(95) {
		rule["modulus"] = pick([]uint64{1, 7, 1000, 1 << 63})
	}
	return rule
}

func printRandom(out *bufio.Writer, count int) {
	for range count {
		c := randomCase{Labels: map[string]string{}}
		for range random.IntN(7) {
			c.Labels[pick(names)] = pick(values)
		}
		for range 1 + random.IntN(3) {
			c.Rules = append(c.Rules, randomRule())
		}
		configs, err := load(c.Rules)
		c.Refused = err != nil
		if builder := labels.NewBuilder(labels.FromMap(c.Labels)); err == nil && relabel.ProcessBuilder(builder, configs...) {
			if after := builder.Labels(); !after.IsEmpty() {
				c.Expected = after.Map()
			}
		}
		printLine(out, c)
	}
}

// load reads rules as a configuration file is read.
func load(rules []map[string]any) ([]*relabel.Config, error) {
	text, err := json.Marshal(rules)
	check(err)
	var configs []*relabel.Config
	if err := yaml.UnmarshalStrict(text, &configs); err != nil {
		return nil, err
	}
	for _, config := range configs {
		if err := config.Validate(model.UTF8Validation); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

type expressionCase struct {
	Expression string   `json:"expression"`
	Refused    bool     `json:"refused,omitempty"`
	Texts      []string `json:"texts,omitempty"`
	// Groups holds for each text its groups, the whole match first, "-" for a group that took no part; null for no match.
	Groups [][]string `json:"groups,omitempty"`
}

var pieces = []string{
	"a", "b", "1", "é", "-", ".", "^", "$", "|", "|", "(", "(", ")", ")", "(?:", "(?i)", "(?i:", "(?s-m:", "(?U)", "(?-s)",
	"(?P<n>", "(?<m>", "(?P<1>", "*", "+", "?", "*?", "{2}", "{1,2}", "{1,}", "{,2}", "{", "}", "[", "]", "[a-b]", "[^a]",
	"[]a]", "[a&&b]", "[[:alpha:]]", "[[:^digit:]1]", "[a-]", "[\\d-b]", "[\\w-]", "[[a]", "\\d", "\\D", "\\w", "\\W",
	"\\s", "\\S", "\\b", "\\B", "\\A", "\\z", "\\pL", "\\PL", "\\p{Greek}", "\\p{^Lu}", "\\p{Lu}", "\\x41", "\\x{e9}",
	"\\101", "\\0", "\\1", "\\.", "\\-", "\\<", "\\_", "\\Qa.\\E", "\\E", "\\n", "\\v", "\\C", "\\", "~", "#", " ", "&",
}

var alphabet = []string{"a", "b", "A", "B", "1", "é", "É", "-", ".", "\n", " ", "{", "}", ",", "2", "[", "]", "&", "α", "_", "\v", "<", "#", "K"}

func printExpressions(out *bufio.Writer, count int) {
	for range count {
		c := expressionCase{}
		for range 1 + random.IntN(6) {
			c.Expression += pick(pieces)
		}
		// Most expressions with a group have it closed.
		if open := strings.Count(c.Expression, "(") - strings.Count(c.Expression, ")"); open > 0 && chance(90) {
			c.Expression += strings.Repeat(")", open)
		}
		compiled, err := relabel.NewRegexp(c.Expression)
		// Prometheus puts `^(?s:` and `)$` around the text, so that it also takes `a)|(b`.
		_, alone := syntax.Parse(c.Expression, syntax.Perl)
		if c.Refused = err != nil || alone != nil; !c.Refused {
			for range 12 {
				text := ""
				for range random.IntN(4) {
					text += pick(alphabet)
				}
				c.Texts = append(c.Texts, text)
				c.Groups = append(c.Groups, groups(compiled, text))
			}
		}
		printLine(out, c)
	}
}

func groups(compiled relabel.Regexp, text string) []string {
	places := compiled.FindStringSubmatchIndex(text)
	if places == nil {
		return nil
	}
	groups := []string{}
	for group := 0; group < len(places); group += 2 {
		if places[group] < 0 {
			groups = append(groups, "-")
		} else {
			groups = append(groups, text[places[group]:places[group+1]])
		}
	}
	return groups
}
