// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - the terminal view and its keys
 */
#include <curses.h>
#include <stdlib.h>
#include <string.h>

#include "ksmtop.h"

#define WIDE_COLUMNS	100	/* a terminal that has space for RSS and MERGED */
#define BAR_COLUMNS	110	/* and for a bar */
#define LEAST_PATH	16	/* columns for the path of a cgroup */

/* Pairs of a colour and the background of the terminal. */
enum { PAIR_MERGING = 1, PAIR_STOPPED, PAIR_CANNOT };

static const char *const help_lines[] = {
	"q  quit                      space  pause, resume",
	"s  sort by saved             m  by merged    c  by cost    p  by profit",
	"r  by rss                    i  by pid       n  by name    R  reverse",
	"a  all processes, or only those with merged pages",
	"C  cgroups or processes",
	"+ -  halve or double the interval",
	"arrows, page keys, home, end  choose a process, scroll",
	"enter  the VMAs of the process; enter, escape or q closes them",
	"",
	"RSS     resident memory; this and all other sizes are in MiB",
	"MERGED  pages of the process that map a KSM page or the zero page",
	"SAVED   its share of what the machine saves; the largest share fills the bar",
	"COST    kernel memory for the metadata of its pages",
	"PROFIT  SAVED minus COST",
	"",
	"WHY is told for a process with no merged pages, or few. Green: merging; yellow: a",
	"control keeps ksmd from scanning; red: the memory cannot be merged. See ksmtop(1).",
};

enum { ESCAPE = 27, ESCAPE_DELAY = 25 /* milliseconds */ };

/* In the order of enum sort_key. */
static const char sort_letters[] = "smcprin";

static void close_screen(void)
{
	endwin();
}

/* https://no-color.org: any text in NO_COLOR turns colours off. */
static bool want_colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return has_colors() && !(no_color && *no_color);
}

static void define_colours(void)
{
	start_color();
	use_default_colors();
	init_pair(PAIR_MERGING, COLOR_GREEN, -1);
	init_pair(PAIR_STOPPED, COLOR_YELLOW, -1);
	init_pair(PAIR_CANNOT, COLOR_RED, -1);
}

/**
 * open_screen() - take over the terminal
 * @view: what the terminal can show is set
 *
 * Exits if the terminal type is unknown. exit() gives the terminal back.
 */
void open_screen(struct view *view)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);
	const char *term = getenv("TERM");

	if (!screen)
		die(EXIT_FAILURE,
		    "unknown terminal type TERM=\"%s\"; set TERM to a known type, or use --batch",
		    term ? term : "");
	set_term(screen);
	cbreak();
	noecho();
	set_escdelay(ESCAPE_DELAY);
	keypad(stdscr, TRUE);
	curs_set(0);
	atexit(close_screen);
	view->utf8 = locale_is_utf8();
	view->colours = want_colours();
	if (view->colours)
		define_colours();
}

/* How many rows the table has. */
static int count_shown(const struct sample *sample, const struct options *options)
{
	const struct cgroup_table *cgroups = &sample->cgroups;
	const struct process_table *table = &sample->table;
	size_t i;
	int count = 0;

	for (i = 0; options->by_cgroup && i < cgroups->count; i++)
		count += cgroup_is_shown(&cgroups->row[i], options);
	for (i = 0; !options->by_cgroup && i < table->count; i++)
		count += is_shown(&table->row[i], options);
	return count;
}

/* Returns NULL if there are not so many processes, or cgroups are shown. */
static const struct process *shown_process(const struct sample *sample,
					   const struct options *options, int at)
{
	const struct process_table *table = &sample->table;
	size_t i;

	for (i = 0; !options->by_cgroup && i < table->count; i++)
		if (is_shown(&table->row[i], options) && !at--)
			return &table->row[i];
	return NULL;
}

/* The row of a process, or -1. */
static int row_of(const struct sample *sample, const struct options *options, pid_t pid)
{
	const struct process *process;
	int at;

	for (at = 0; (process = shown_process(sample, options, at)); at++)
		if (process->pid == pid)
			return at;
	return -1;
}

/* Only the line of history and rows with a bar are not ASCII, and these fit. */
static void put_line(int y, const char *text, int attributes)
{
	bool ascii = true;
	const char *c;

	for (c = text; *c; c++)
		ascii = ascii && !(*c & 0x80);
	attron(attributes);
	if (ascii)
		mvaddnstr(y, 0, text, COLS);
	else
		mvaddstr(y, 0, text);
	attroff(attributes);
}

/* The chosen row is reversed up to the edge. */
static void put_row(int y, const char *text, int attributes, bool chosen)
{
	put_line(y, text, attributes);
	if (chosen)
		mvchgat(y, 0, -1, (attributes & A_BOLD) | A_REVERSE, PAIR_NUMBER(attributes),
			NULL);
}

static void draw_help(void)
{
	int i, lines = ARRAY_SIZE(help_lines);

	for (i = 0; i < lines && i < LINES - 1; i++)
		put_line(i, help_lines[i], A_NORMAL);
	put_line(LINES - 1, "press any key to return", A_REVERSE);
}

static int row_attributes(const struct view *view, enum state state)
{
	int attributes = state == STATE_MERGING ? A_BOLD : A_NORMAL;

	if (!view->colours)
		return attributes;
	switch (state) {
	case STATE_MERGING:
		return attributes | COLOR_PAIR(PAIR_MERGING);
	case STATE_STOPPED:
	case STATE_UNMERGED:
	case STATE_ADVISOR_IDLE:
	case STATE_NO_PAGES:
		return attributes | COLOR_PAIR(PAIR_STOPPED);
	case STATE_HUGETLB:
	case STATE_SHARED:
	case STATE_DEVICE:
	case STATE_PINNED:
	case STATE_EQUAL_PINNED:
		return attributes | COLOR_PAIR(PAIR_CANNOT);
	default:
		return attributes;
	}
}

static long long most_saved(const struct sample *sample, const struct options *options)
{
	const struct cgroup_table *cgroups = &sample->cgroups;
	const struct process_table *table = &sample->table;
	long long most = 0;
	size_t i;

	for (i = 0; options->by_cgroup && i < cgroups->count; i++)
		if (cgroup_is_shown(&cgroups->row[i], options) && cgroups->row[i].saved > most)
			most = cgroups->row[i].saved;
	for (i = 0; !options->by_cgroup && i < table->count; i++)
		if (is_shown(&table->row[i], options) && table->row[i].saved > most)
			most = table->row[i].saved;
	return most;
}

static struct layout choose_layout(const struct view *view, const struct sample *sample,
				   const struct options *options)
{
	struct layout layout = { .utf8 = view->utf8 };

	layout.wide = COLS >= WIDE_COLUMNS;
	layout.bar = COLS >= BAR_COLUMNS;
	layout.most_saved = most_saved(sample, options);
	layout.path_width = COLS - other_columns(&layout);
	if (layout.path_width < LEAST_PATH)
		layout.path_width = LEAST_PATH;
	return layout;
}

static void draw_rows(const struct view *view, const struct sample *sample,
		      const struct options *options, const struct layout *layout, int y)
{
	const struct process_table *table = &sample->table;
	struct line line;
	int row = 0;
	size_t i;

	for (i = 0; i < table->count && y < LINES; i++) {
		if (!is_shown(&table->row[i], options) || row++ < view->top)
			continue;
		memset(&line, 0, sizeof(line));
		process_row(&line, &table->row[i], &sample->machine, layout);
		put_row(y++, line.text, row_attributes(view, table->row[i].state),
			row - 1 == view->cursor);
	}
}

static void draw_cgroups(const struct view *view, const struct sample *sample,
			 const struct options *options, const struct layout *layout, int y)
{
	const struct cgroup_table *table = &sample->cgroups;
	const char *problem = cgroup_problem(sample);
	struct line line;
	int row = 0;
	size_t i;

	if (problem && y < LINES)
		put_line(y++, problem, A_NORMAL);
	for (i = 0; !problem && i < table->count && y < LINES; i++) {
		if (!cgroup_is_shown(&table->row[i], options) || row++ < view->top)
			continue;
		memset(&line, 0, sizeof(line));
		cgroup_row(&line, &table->row[i], &sample->machine, layout);
		put_row(y++, line.text, row_attributes(view, table->row[i].state),
			row - 1 == view->cursor);
	}
}

/* How many lines of the header leave space for rows below it. */
static int header_lines_shown(void)
{
	if (LINES >= 12)
		return HEADER_LINES;
	return LINES >= 5 ? 2 : 1;
}

static void draw_table(const struct view *view, const struct monitor *monitor,
		       const struct options *options)
{
	struct layout layout = choose_layout(view, &monitor->now, options);
	struct line lines[HEADER_LINES], title = { .len = 0 };
	int i, y = 0, shown = header_lines_shown();

	header(lines, monitor, COLS, view->utf8);
	if (view->ended || view->paused)
		add(&lines[0], view->ended ? "  END OF THE RECORD" : "  PAUSED");
	for (i = 0; i < shown && y < LINES; i++)
		put_line(y++, lines[i].text, A_NORMAL);
	if (options->by_cgroup)
		cgroup_title_row(&title, &layout);
	else
		title_row(&title, &layout);
	add(&title, " (by %s; h: help; every %.1f s)", sort_key_name(options->sort),
	    options->interval);
	if (y < LINES) {
		put_line(y, title.text, A_REVERSE);
		mvchgat(y++, 0, -1, A_REVERSE, 0, NULL);
	}
	if (options->by_cgroup)
		draw_cgroups(view, &monitor->now, options, &layout, y);
	else
		draw_rows(view, &monitor->now, options, &layout, y);
}

static void draw_vmas(const struct view *view, const struct monitor *monitor,
		      const struct options *options)
{
	struct layout layout = choose_layout(view, &monitor->now, options);
	struct line lines[VMA_HEADER_LINES], line;
	const struct vma_table *table = &view->vmas;
	int i, y = 0, first = 0, merging = row_attributes(view, STATE_MERGING);

	/* In a terminal of few lines, the titles or the problem remain. */
	if (LINES <= VMA_HEADER_LINES)
		first = table->problem ? 1 : VMA_HEADER_LINES - 1;
	vma_header(lines, table, &monitor->now, &layout, COLS);
	for (i = first; i < VMA_HEADER_LINES && y < LINES; i++)
		put_row(y++, lines[i].text, A_NORMAL, i == VMA_HEADER_LINES - 1);
	for (i = table->top; i < (int)table->count && y < LINES; i++) {
		const struct vma *vma = &table->row[i];

		memset(&line, 0, sizeof(line));
		vma_row(&line, vma, COLS);
		put_line(y++, line.text, vma->merged_kib ? merging : (int)A_NORMAL);
	}
}

/* How many rows are visible. */
static int page_rows(const struct view *view)
{
	int rows = LINES - (view->vmas.open ? VMA_HEADER_LINES : header_lines_shown() + 1);

	return rows < 1 ? 1 : rows;
}

static int clamp_row(int row, int rows)
{
	if (row >= rows)
		row = rows - 1;
	return row < 0 ? 0 : row;
}

/* The order may have changed, and rows may have come or gone. */
static void follow_chosen(struct view *view, const struct sample *sample,
			  const struct options *options)
{
	int rows = count_shown(sample, options), page = page_rows(view);
	int at = view->chosen ? row_of(sample, options, view->chosen) : -1;

	if (view->vmas.open) {
		view->vmas.top = clamp_row(view->vmas.top, view->vmas.count - page + 1);
		return;
	}
	view->cursor = clamp_row(at < 0 ? view->cursor : at, rows);
	if (view->top > view->cursor)
		view->top = view->cursor;
	if (view->top < view->cursor - page + 1)
		view->top = view->cursor - page + 1;
	view->top = clamp_row(view->top, rows);
}

/**
 * draw_screen() - draw the table, the VMAs of a process or the help
 * @view: what to draw; its scroll position is corrected
 * @monitor: the samples to show
 * @options: which processes to show
 */
void draw_screen(struct view *view, const struct monitor *monitor,
		 const struct options *options)
{
	follow_chosen(view, &monitor->now, options);
	erase();
	if (view->help)
		draw_help();
	else if (view->vmas.open)
		draw_vmas(view, monitor, options);
	else
		draw_table(view, monitor, options);
	refresh();
}

/**
 * read_key() - wait for a key
 * @seconds: how long to wait, at most one second
 *
 * Return: the key, or NO_KEY
 */
int read_key(double seconds)
{
	int key;

	timeout(seconds > 1 ? 1000 : (int)(seconds * 1000) + 1);
	key = getch();
	return key == ERR ? NO_KEY : key;
}

/* Where a key moves to, of so many rows. */
static int moved(int row, int rows, int page, int key)
{
	switch (key) {
	case KEY_UP:
	case 'k':
		return clamp_row(row - 1, rows);
	case KEY_DOWN:
	case 'j':
		return clamp_row(row + 1, rows);
	case KEY_PPAGE:
		return clamp_row(row - page, rows);
	case KEY_NPAGE:
		return clamp_row(row + page, rows);
	case KEY_HOME:
		return 0;
	case KEY_END:
		return clamp_row(rows - 1, rows);
	default:
		return row;
	}
}

static void choose_by_key(struct view *view, const struct options *options,
			  const struct sample *sample, int key)
{
	int row = moved(view->cursor, count_shown(sample, options), page_rows(view), key);
	const struct process *process;

	if (row == view->cursor)
		return;
	view->cursor = row;
	process = shown_process(sample, options, row);
	view->chosen = process ? process->pid : 0;
}

static void choose_first(struct view *view)
{
	view->top = 0;
	view->cursor = 0;
	view->chosen = 0;
}

static bool is_enter(int key)
{
	return key == '\n' || key == '\r' || key == KEY_ENTER;
}

static void obey_in_vmas(struct view *view, int key)
{
	struct vma_table *table = &view->vmas;
	int page = page_rows(view);

	if (is_enter(key) || key == ESCAPE || key == 'q')
		table->open = false;
	else if (key == 'h' || key == '?')
		view->help = true;
	else if (key == ' ')
		view->paused = !view->paused;
	else
		table->top = moved(table->top, table->count - page + 1, page, key);
}

/* Keys that change which rows the table has, or their order. */
static bool obey_table_key(struct view *view, struct options *options, int key)
{
	const char *letter = key > 0 && key < 128 ? strchr(sort_letters, key) : NULL;

	if (letter) {
		options->sort = letter - sort_letters;
		choose_first(view);
	} else if (key == 'R') {
		options->reverse = !options->reverse;
	} else if (key == 'a') {
		options->merging_only = !options->merging_only;
	} else if (key == 'C' && !options->replay) {
		options->by_cgroup = !options->by_cgroup;
		choose_first(view);
	} else {
		return false;
	}
	return true;
}

static void obey_in_table(struct view *view, struct options *options,
			  const struct sample *sample, int key)
{
	const struct process *process = shown_process(sample, options, view->cursor);

	if (obey_table_key(view, options, key))
		return;
	if (key == 'q')
		view->quit = true;
	else if (key == 'h' || key == '?')
		view->help = true;
	else if (key == ' ')
		view->paused = !view->paused;
	else if (is_enter(key) && process)
		open_vmas(&view->vmas, process, options);
	else if (key == '+' && options->interval > 0.2)
		options->interval /= 2;
	else if (key == '-' && options->interval < 1800)
		options->interval *= 2;
	else
		choose_by_key(view, options, sample, key);
}

/**
 * obey_key() - do what a key stands for
 * @view: is changed
 * @options: its order, filter and interval are changed
 * @sample: the rows to scroll through
 * @key: as read_key() returned it
 *
 * Exits if there is no memory for the VMAs of a process.
 */
void obey_key(struct view *view, struct options *options,
	      const struct sample *sample, int key)
{
	if (view->help && key != KEY_RESIZE) {
		view->help = false;
		view->quit = key == 'q';
	} else if (view->vmas.open) {
		obey_in_vmas(view, key);
	} else {
		obey_in_table(view, options, sample, key);
	}
}
