// Package near finds the word that somebody meant who wrote one that is not known.
package near

import (
	"strings"
)

// Hint returns what an error says of a word that is not one of known: the nearest of them, when one is near enough, and
// all of them in their order.
func Hint(word string, known []string) string {
	all := "known are " + strings.Join(known, ", ")
	if meant, ok := find(word, known); ok {
		return "did you mean " + meant + "? " + all
	}
	return all
}

// find returns the nearest word, if no more than a third of it differs.
func find(word string, known []string) (nearest string, ok bool) {
	least := 0
	for _, k := range known {
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d <= max(1, len(k)/3) && (!ok || d < least) {
			nearest, least, ok = k, d, true
		}
	}
	return nearest, ok
}

// distance is that of Levenshtein: how many bytes must be put in, left out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
