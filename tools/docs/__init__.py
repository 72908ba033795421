"""Writers of the pages and pictures of docs/ that come from the code; not in the wheel."""
