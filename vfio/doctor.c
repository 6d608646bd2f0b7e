#include "vfio/doctor.h"

#include <string.h>

bool doctor_cmdline_has(const struct doctor *doctor, const char *word)
{
	size_t len = strlen(word);
	const char *at = doctor->cmdline;

	while ((at = strstr(at, word))) {
		bool begins = at == doctor->cmdline || at[-1] == ' ';

		if (begins && (word[len - 1] == '=' || strchr(" ,", at[len])))
			return true;
		at += len;
	}
	return false;
}
