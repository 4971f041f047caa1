"""The PCM-Leukemia paper as a study of anyone's data: its systems as rows, its tables and figures as a page."""
