"""Looks into SVG documents."""

import xml.etree.ElementTree as ElementTree

NAMESPACE = "{http://www.w3.org/2000/svg}"
PLACES = ("x", "x1", "x2", "y", "y1", "y2")


class Picture:
    def __init__(self, path):
        self.root = ElementTree.parse(path).getroot()
        assert self.root.tag == NAMESPACE + "svg", self.root.tag
        self.title = self.root.find(NAMESPACE + "title").text

    def shapes(self, tag, kind):
        """The elements of that tag and class, in their order."""
        return [shape for shape in self.root.iter(NAMESPACE + tag) if shape.get("class") == kind]

    def texts(self, kind):
        return [text.text for text in self.shapes("text", kind)]

    def outside(self):
        """What lies outside of the picture: (attribute, value)."""
        width, height = map(float, self.root.get("viewBox").split()[2:])
        places = []
        for element in self.root.iter():
            places += [(name, float(value)) for name, value in element.items() if name in PLACES]
            for point in element.get("points", "").split():
                places += zip("xy", map(float, point.split(",")))
        return [(name, value) for name, value in places if not 0 <= value <= (width if name[0] == "x" else height)]
