package main

// nearest is the one of known that differs least from word, and in how many letters. The first of
// several is as good as the others; of none it is empty.
func nearest(word string, known []string) (found string, distance int) {
	for _, candidate := range known {
		if d := letters(word, candidate); found == "" || d < distance {
			found, distance = candidate, d
		}
	}
	return found, distance
}

// letters is how many letters have to be put in, left out or replaced to make b of a (Levenshtein).
func letters(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
