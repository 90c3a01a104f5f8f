// Prints what Prometheus makes of relabel rules; see README.md.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
)

func main() {
	log.SetFlags(0)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "cases":
		printCases(out, args[1], args[2])
	case len(args) == 2 && args[0] == "random":
		printRandom(out, number(args[1]))
	case len(args) == 2 && args[0] == "expressions":
		printExpressions(out, number(args[1]))
	case len(args) == 1 && args[0] == "letters":
		printLetters(out)
	default:
		log.Fatal("usage: cases NEW OLD | random COUNT | expressions COUNT | letters")
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// printLine prints one value as one line of JSON, with `<` and `&` as they are.
func printLine(out *bufio.Writer, value any) {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value))
}

// printLetters prints every letter that has another case: itself, its lower case, its upper case.
func printLetters(out *bufio.Writer) {
	for letter := rune(0); letter <= 0x10ffff; letter++ {
		if letter >= 0xd800 && letter <= 0xdfff {
			continue
		}
		if lower, upper := lowerUpper(letter); lower != letter || upper != letter {
			fmt.Fprintf(out, "%x %x %x\n", letter, lower, upper)
		}
	}
}
