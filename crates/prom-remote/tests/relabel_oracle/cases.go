package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// testCase is one line of the table. Name, Labels, Rules and NewOnly are written by hand; the rest is printed.
type testCase struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Rules  []json.RawMessage `json:"rules"`
	// NewOnly keeps the case from the old server, which cannot load it or knows other expressions.
	NewOnly bool `json:"new_only,omitempty"`
	// Discovered are the labels that the rules met, as the server tells them.
	Discovered map[string]string `json:"discovered"`
	// Expected are the labels after the rules without those that begin with `__`, and with an `instance`
	// taken from `__address__` if there was none; null if the target was dropped.
	Expected map[string]string `json:"expected"`
	// ExpectedOld is what the old server says, if it is something else.
	ExpectedOld *map[string]string `json:"expected_old,omitempty"`
}

func printCases(out *bufio.Writer, newProgram, oldProgram string) {
	var cases []*testCase
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c := new(testCase)
		check(json.Unmarshal(lines.Bytes(), c))
		c.ExpectedOld = nil
		cases = append(cases, c)
	}
	check(lines.Err())
	for index, target := range ask(newProgram, cases, false) {
		cases[index].Discovered, cases[index].Expected = target.DiscoveredLabels, target.Labels
	}
	for index, target := range ask(oldProgram, cases, true) {
		if fmt.Sprint(target.Labels) != fmt.Sprint(cases[index].Expected) {
			cases[index].ExpectedOld = &target.Labels
		}
	}
	for _, c := range cases {
		printLine(out, c)
	}
}

type target struct {
	DiscoveredLabels map[string]string `json:"discoveredLabels"`
	Labels           map[string]string `json:"labels"`
}

// ask runs a server with a scrape job for each case and returns what became of its one target.
func ask(program string, cases []*testCase, isOld bool) map[int]target {
	dir, err := os.MkdirTemp("", "relabel-oracle")
	check(err)
	defer os.RemoveAll(dir)
	jobs := []any{}
	for index, c := range cases {
		if isOld && c.NewOnly {
			continue
		}
		labels := map[string]string{"__meta_case": fmt.Sprint(index)}
		for name, value := range c.Labels {
			labels[name] = value
		}
		jobs = append(jobs, map[string]any{
			"job_name":        fmt.Sprintf("case-%d", index),
			"static_configs":  []any{map[string]any{"targets": []string{"127.0.0.1:1"}, "labels": labels}},
			"relabel_configs": c.Rules,
		})
	}
	// JSON is YAML.
	config, err := json.Marshal(map[string]any{"global": map[string]any{"scrape_interval": "1h"}, "scrape_configs": jobs})
	check(err)
	file := filepath.Join(dir, "prometheus.yml")
	check(os.WriteFile(file, config, 0o600))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	address := listener.Addr().String()
	listener.Close()
	server := exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	server.Stderr = os.Stderr
	check(server.Start())
	defer func() {
		check(server.Process.Kill())
		server.Wait()
	}()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if targets, err := targets(address); err == nil && len(targets) == len(jobs) {
			return targets
		}
	}
	log.Fatalf("%s: not all targets appeared", program)
	return nil
}

func targets(address string) (map[int]target, error) {
	response, err := http.Get("http://" + address + "/api/v1/targets")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Data struct {
			ActiveTargets  []target `json:"activeTargets"`
			DroppedTargets []target `json:"droppedTargets"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	found := map[int]target{}
	for _, t := range append(answer.Data.ActiveTargets, answer.Data.DroppedTargets...) {
		found[number(t.DiscoveredLabels["__meta_case"])] = t
	}
	return found, nil
}
